// Shows the confusion matrices of the chosen variant.

// `shade` gives the opacity of a count, from 0 to 1; `sign` is before counts above 0.
function drawConfusion(id, name, counts, shade, sign = "") {
  const { labels } = data;
  const values = counts.flatMap((row, i) => row.map((count, k) => ({
    actual: labels[i], predicted: labels[k], count, shade: shade(count, row),
    text: count > 0 ? `${sign}${count}` : String(count || ""),
  })));
  const side = { type: "nominal", sort: labels, scale: { domain: labels } };
  const shared = {
    x: { ...side, field: "predicted", title: "predicted class", axis: { labelAngle: -60 } },
    y: { ...side, field: "actual", title: "true class" },
    tooltip: tooltip(["actual", "predicted", "count"]),
  };
  const negative = { test: "datum.count < 0", value: css("negative") };
  const fill = { condition: negative, value: css("positive") };
  const opacity = { field: "shade", type: "quantitative", scale: null };
  const onDark = { test: "datum.shade > 0.55", value: css("page") };
  const color = { condition: onDark, value: css("ink") };
  const text = { field: "text", type: "nominal" };
  draw(id, `Confusion matrix of ${name}`, 23 * labels.length, values, [
    mark("rect", { ...shared, fill, opacity }),
    mark("text", { ...shared, text, color }, { fontSize: 10, aria: false }),
  ]);
}

function showConfusion() {
  const { baseline, confusion } = data;
  const variant = byId("confusion-variant").value;
  byId("confusion-name").textContent = variant;
  const share = (count, row) => Math.sqrt(count / Math.max(1, row.reduce((a, b) => a + b)));
  drawConfusion("confusion-baseline", baseline, confusion[baseline], share);
  drawConfusion("confusion-variant-chart", variant, confusion[variant], share);
  const difference = confusion[variant].map((row, i) =>
    row.map((count, k) => count - confusion[baseline][i][k]));
  const largest = Math.max(1, ...difference.flat().map(Math.abs));
  const shade = (count) => Math.abs(count) / largest;
  drawConfusion("confusion-difference", `${variant} minus that of ${baseline}`, difference, shade,
    "+");
}

byId("confusion-variant").addEventListener("change", showConfusion);
