const dark = window.matchMedia("(prefers-color-scheme: dark)");
const narrow = window.matchMedia("(max-width: 40rem)");
const config = { displayModeBar: false, responsive: true };

function coloured({ layout }) {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  return { ...layout, font: { ...layout.font, color: ink } };
}

function smallDots(trace) {
  if (!Array.isArray(trace.marker?.size)) return trace;
  return { ...trace, marker: { ...trace.marker, size: trace.marker.size.map((size) => 0.6 * size) } };
}

// A narrow screen holds two columns of the legend once all its entries are as wide as the longest name.
function fitted({ data, layout }) {
  if (!narrow.matches) return { data, layout };
  const letters = Math.max(...data.map((trace) => (trace.name ?? "").length));
  return { data: data.map(smallDots), layout: { ...layout, legend: { ...layout.legend, entrywidth: 7 * letters } } };
}

function draw() {
  for (const [name, figure] of Object.entries(figures)) {
    const { data, layout } = fitted(figure);
    Plotly.react(name, data, coloured({ layout }), config);
  }
}

for (const section of document.querySelectorAll(".charts")) section.hidden = false;
draw();
for (const media of [dark, narrow]) media.addEventListener("change", draw);
