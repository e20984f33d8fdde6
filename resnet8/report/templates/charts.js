// Draws charts one after the other, so that the page answers in between.

const data = JSON.parse(document.getElementById("report-data").textContent);
const LONGEST_WORK = 250; // milliseconds
const byId = (id) => document.getElementById(id);

const drawn = new Map(); // by element, what to clear away before the next
const wanted = new Map(); // by element, the latest drawing: others that still wait are left out
let queue = Promise.resolve();
let rested = 0; // when the page last had time to answer and to show what is drawn

function draw(id, spec, datasets = {}, description = spec.description) {
  const options = {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, // no eval: the page forbids it
    config: data.config,
  };
  const layer = spec.layer.filter(({ data }) => datasets[data?.name]?.length !== 0);
  const chart = { ...spec, layer, description, datasets };
  wanted.set(id, chart);
  const last = queue.then(async () => {
    if (wanted.get(id) !== chart) return;
    if (performance.now() > rested + LONGEST_WORK) {
      await new Promise((resolve) => setTimeout(resolve));
      rested = performance.now();
    }
    drawn.get(id)?.finalize();
    drawn.set(id, await vegaEmbed(byId(id), chart, options));
  }).catch((error) => console.error(`chart ${id}:`, error)); // the others are drawn
  const { dataset } = document.documentElement;
  delete dataset.ready;
  last.then(() => { if (queue === last) dataset.ready = "true"; }); // all charts are drawn
  queue = last;
}

for (const { id } of document.querySelectorAll(".chart")) {
  if (data.charts[id]) draw(id, data.charts[id]); // the others show what a person chooses
}
