// An item: what is stored, what was published and what its code decodes to, and what is near.

import { card, finder, h, heading, isolated, itemLink, pairs, quiet, table, visible } from "../dom.js";
import { imageOf, vectorOf } from "../pictures.js";
import { ask } from "../server.js";
import { count, figure, plural } from "../words.js";

export async function item(container, { id }, signal) {
  if (!id) {
    container.append(heading("Items"), finder("/item", "Item id", ""), quiet("What is stored of it, what its code decodes to, and what is near."));
    return;
  }
  const title = heading("Item ", isolated(id));
  container.append(h("div", { class: "title" }, title, finder("/item", "Item id", id)));
  const found = await ask("/api/item", { id }, signal);
  const name = found.attributes.title;
  if (typeof name === "string") title.replaceChildren(isolated(name), " ", h("small", { class: "quiet" }, isolated(id)));
  const pictures = h("div", { class: "pictures", "aria-busy": "true" }, quiet("Read from the topic, and asked of a recommender…"));
  const near = h("div", { "aria-busy": "true" }, quiet("Asked of a recommender…"));
  container.append(
    h("div", { class: "columns" },
      h("div", {}, card("Stored", stored(found))),
      h("div", {}, card("Attributes", attributes(found.attributes)))),
    card("Original and reconstruction", pictures),
    card("Nearest", near));
  await Promise.all([compared(found, pictures, signal), neighbours(id, near, signal)]);
}

function stored(found) {
  const verdict = found.anomalous ? h("span", { class: "badge bad" }, "anomaly") : h("span", { class: "badge" }, "ordinary");
  return [pairs([
    ["Available", found.available ? "yes" : "no: it is never recommended"],
    ["Code", found.code_bytes ? plural(found.code_bytes, "byte") : "none: published without features, or the model has no content part"],
    found.error !== null && ["Reconstruction error", `${figure(found.error)} (mean squared, a feature)`],
    found.score !== null && ["Anomaly score", h("span", {}, `${figure(found.score, 2)} of the alarm threshold `, verdict)],
    ["Model", h("a", { href: "/models" }, found.model)],
    ["Partition", String(found.partition)],
  ]), found.code && h("details", {}, h("summary", {}, "The code, in hexadecimal"), h("code", {}, found.code))].filter(Boolean)
    .reduce((all, part) => { all.append(part); return all; }, h("div"));
}

function attributes(all) {
  const rows = Object.entries(all).map(([name, value]) =>
    [isolated(name), isolated(typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : JSON.stringify(value))]);
  return rows.length ? pairs(rows) : quiet("None.");
}

async function compared(found, place, signal) {
  const [original, decoded] = await Promise.allSettled([
    ask("/api/item/original", { id: found.item_id }, signal),
    found.code_bytes ? ask("/api/item/reconstruction", { id: found.item_id }, signal) : Promise.reject(new Error("there is no code to decode")),
  ]);
  if (signal.aborted) return;
  const given = original.status === "fulfilled" ? original.value.features : null;
  const made = decoded.status === "fulfilled" ? decoded.value : null;
  const told = [
    given === null && `No original: ${original.status === "fulfilled" ? original.value.why_not : original.reason.message}.`,
    made === null && `No reconstruction: ${decoded.reason.message}.`,
  ].filter(Boolean);
  place.removeAttribute("aria-busy");
  place.replaceChildren(...told.map((text) => quiet(visible(text))));
  const size = (given || made || []).length;
  if (!size) return;
  const image = found.shape.length > 1 && found.shape.reduce((all, one) => all * one, 1) === size;
  if (image) {
    if (given) place.append(figureOf(imageOf(given, found.shape, "Original"), `Original, ${found.shape.join(" × ")}`));
    if (made) place.append(figureOf(imageOf(made, found.shape, "Reconstruction"), `Decoded from ${plural(found.code_bytes, "byte")}`));
    if (given && made) {
      place.append(figureOf(imageOf(given.map((value, at) => Math.abs(value - made[at])), found.shape, "Difference"), "Difference"));
    }
  } else {
    place.append(figureOf(vectorOf(given, made), `${plural(size, "feature")}${size > 256 ? ", the first 256" : ""}: filled is decoded${given ? ", outlined is the original" : ""}`));
    place.append(h("details", {}, h("summary", {}, "As numbers"), table("Features", [{ name: "" }, { name: "Original", class: "number" }, { name: "Decoded", class: "number" }],
      (given || made).slice(0, 256).map((_, at) => [String(at), given ? figure(given[at]) : "", made ? figure(made[at]) : ""]))));
  }
  if (given && made) {
    const error = given.reduce((sum, value, at) => sum + (value - made[at]) ** 2, 0) / size;
    place.append(h("p", { class: "quiet" }, `Mean squared difference ${figure(error, 3)}; ${count(4 * size)} bytes as float32, ${plural(found.code_bytes, "byte")} as a code.`));
  }
}

function figureOf(picture, caption) {
  return h("figure", {}, picture, h("figcaption", {}, caption));
}

async function neighbours(id, place, signal) {
  try {
    const found = await ask("/api/item/near", { id }, signal);
    place.replaceChildren(found.items.length
      ? table("Items most like this one", [{ name: "Item" }, { name: "Cosine", class: "number" }],
        found.items.map((one) => [itemLink(one.item_id, one.title), figure(one.score, 3)]))
      : quiet("No other item is available."));
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(quiet(visible(error.message)));
  } finally {
    place.removeAttribute("aria-busy");
  }
}
