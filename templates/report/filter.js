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
