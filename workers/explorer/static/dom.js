// Elements from data. What comes from events is only ever set as text, never as markup.

export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(name, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// What a screen reader is told, politely.
export function announce(text) {
  document.getElementById("announced").textContent = text;
}

export function problem(text) {
  return h("p", { class: "problem", role: "alert" }, text);
}

export function quiet(text) {
  return h("p", { class: "quiet" }, text);
}

export function heading(text, ...more) {
  return h("h1", {}, text, ...more);
}

export function address(view, parameters) {
  return `${view}?${new URLSearchParams(parameters)}`;
}

// An id by its title where it has one.
export function itemLink(id, title) {
  return h("a", { href: address("/item", { id }), title: title ? id : undefined }, isolated(title || id));
}

export function userLink(id) {
  return h("a", { href: address("/user", { id }) }, isolated(id));
}

// Text of others must not turn the direction of ours; what cannot be seen is made visible.
export function isolated(text) {
  return h("bdi", {}, visible(String(text)));
}

export function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`);
}

export function table(caption, columns, rows, properties = {}) {
  const head = columns.map((column) => h("th", { scope: "col", class: column.class }, column.name));
  const body = rows.map((row) => h("tr", { class: row.class }, (row.cells || row).map((cell, place) =>
    h("td", { class: columns[place].class }, cell))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", properties, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

export function pairs(rows) {
  return h("dl", {}, rows.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function card(title, ...children) {
  return h("section", { class: "card", "aria-label": title }, h("h2", {}, title), ...children);
}

// A form of one field that leads to a view; what is asked for is in the address.
export function finder(view, label, value) {
  const input = h("input", { name: "id", value, maxlength: 256, required: true, autocomplete: "off", spellcheck: "false", id: "finder" });
  return h("form", { class: "finder", role: "search", action: view }, h("label", { for: "finder" }, label), input, h("button", {}, "Show"));
}

export function copyButton(text) {
  // Browsers have it for pages of this machine and over TLS alone.
  if (!navigator.clipboard) return "";
  const button = h("button", { type: "button", class: "small", onclick: async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
    announce("Copied");
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }, "aria-label": `Copy ${text}` }, "Copy");
  return button;
}

export function command(text) {
  return h("span", { class: "command" }, h("code", {}, visible(text)), copyButton(text));
}
