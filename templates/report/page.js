const dark = window.matchMedia("(prefers-color-scheme: dark)");
const config = { displayModeBar: false, responsive: true };

function coloured(figure) {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  return { ...figure.layout, font: { ...figure.layout.font, color: ink } };
}

function draw() {
  for (const name of ["price", "memory"]) {
    Plotly.react(name, figures[name].data, coloured(figures[name]), config);
  }
}

document.querySelector(".charts").hidden = false;
draw();
dark.addEventListener("change", draw);

const select = document.getElementById("gpu");
for (const trace of figures.price.data.filter((one) => one.mode === "markers")) {
  select.append(new Option(trace.name, trace.name));
}
select.addEventListener("change", () => {
  const wanted = select.value;
  const visible = figures.price.data.map((one) => !wanted || one.name === wanted);
  Plotly.restyle("price", { visible });
  for (const row of document.querySelectorAll("tr[data-gpu]")) {
    row.hidden = Boolean(wanted) && row.dataset.gpu !== wanted;
  }
});
