// The graph of the network: type of the codes and SQNR in its boxes, for the chosen variant.

function showNoise() {
  const variant = byId("graph-variant")?.value;
  const ratios = layers.map((layer) => sqnrOf(layer, variant)).filter((x) => x !== null);
  const [low, high] = [Math.min(...ratios), Math.max(...ratios)];
  for (const box of byId("graph").querySelectorAll("[data-layer]")) {
    const { layer } = box.dataset;
    const [statistics, ratio] = [statisticsOf(layer, variant), sqnrOf(layer, variant)];
    box.dataset.variant = statistics ? variant : "";
    box.querySelector(".sqnr").textContent = statistics ? sqnrText(statistics) : "";
    box.querySelector(".type").textContent = statistics ? statistics.dtype ?? "float32" : "";
    // The noisiest layer has the strongest mark.
    const share = ratio === null || high === low ? 0 : (high - ratio) / (high - low);
    box.querySelector(".noise").style.fillOpacity = share;
  }
}

byId("graph-variant")?.addEventListener("change", showNoise);
showNoise();
