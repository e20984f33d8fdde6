// Draws charts one after the other, so that the page answers in between.

const data = JSON.parse(document.getElementById("report-data").textContent);
const byId = (id) => document.getElementById(id);

let drawing = Promise.resolve(); // the last one: each waits for the one before
const drawn = new Map(); // by element, what to clear away before the next

function draw(id, spec, datasets = {}, description = spec.description) {
  const options = {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, // no eval: the page forbids it
    config: data.config,
  };
  const layer = spec.layer.filter(({ data }) => datasets[data?.name]?.length !== 0);
  drawing = drawing.then(async () => {
    await new Promise((resolve) => setTimeout(resolve)); // the page answers in between
    drawn.get(id)?.finalize();
    drawn.set(id, await vegaEmbed(byId(id), { ...spec, layer, description, datasets }, options));
  });
  return drawing;
}

for (const { id } of document.querySelectorAll(".chart")) {
  if (data.charts[id]) draw(id, data.charts[id]); // the others show what a person chooses
}
