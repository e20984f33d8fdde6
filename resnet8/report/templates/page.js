// A table that goes on at the right fades there; the link of the section on screen is marked.

for (const box of document.querySelectorAll(".scroll")) {
  const mark = () => box.toggleAttribute("data-more",
    box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  box.addEventListener("scroll", mark);
  new ResizeObserver(mark).observe(box);
}

const links = new Map([...document.querySelectorAll("nav ol a")].map((a) => [a.hash.slice(1), a]));
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(target.id).setAttribute("aria-current", "true");
  }
}, { rootMargin: "-20% 0px -75% 0px" });
for (const id of links.keys()) watcher.observe(byId(id));

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

showConfusion();
showLayer();
