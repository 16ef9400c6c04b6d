// Which view stands in the page is in the address.

import { h, problem, visible } from "./dom.js";
import { live } from "./views/live.js";

const VIEWS = {
  "/": { title: "Live", load: () => live },
  "/user": { title: "User", load: async () => (await import("./views/user.js")).user },
  "/item": { title: "Item", load: async () => (await import("./views/item.js")).item },
  "/map": { title: "Map", load: async () => (await import("./views/map.js")).map },
  "/dead-letters": { title: "Dead letters", load: async () => (await import("./views/letters.js")).letters },
  "/models": { title: "Models", load: async () => (await import("./views/models.js")).models },
  "/experiments": { title: "Experiments", load: async () => (await import("./views/experiments.js")).experiments },
};

const place = document.getElementById("view");
let leaving = new AbortController();
// A link within the page changes the address as well, and nothing else.
let shown = "";

export async function show({ focus = true } = {}) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  shown = location.pathname + location.search;
  const view = VIEWS[location.pathname] || VIEWS["/"];
  const parameters = Object.fromEntries(new URLSearchParams(location.search));
  document.title = `${parameters.id ? `${visible(parameters.id)}: ` : ""}${view.title}: latentstream`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const container = h("div", { class: "view" });
  try {
    const draw = await view.load();
    if (signal.aborted) return;
    place.replaceChildren(container);
    if (focus) {
      place.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    await draw(container, parameters, signal);
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(container);
    container.append(problem(error.message));
  }
}

export function go(address) {
  history.pushState(null, "", address);
  return show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!link || !plain || link.target || link.origin !== location.origin || !(link.pathname in VIEWS) || link.hash) return;
  event.preventDefault();
  go(link.href);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  event.preventDefault();
  if (form.getAttribute("action")) go(`${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`);
});
addEventListener("popstate", () => { if (location.pathname + location.search !== shown) show(); });
show({ focus: false });
