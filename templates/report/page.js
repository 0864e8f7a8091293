const dark = window.matchMedia("(prefers-color-scheme: dark)");
const config = { displayModeBar: false, responsive: true };

function coloured(figure) {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  return { ...figure.layout, font: { ...figure.layout.font, color: ink } };
}

function draw() {
  for (const name of Object.keys(figures)) {
    Plotly.react(name, figures[name].data, coloured(figures[name]), config);
  }
}

for (const section of document.querySelectorAll(".charts")) section.hidden = false;
draw();
dark.addEventListener("change", draw);
