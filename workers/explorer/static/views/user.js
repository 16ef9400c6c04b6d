// A user: history, lists, why, and what changes while one looks.

import { announce, card, finder, h, heading, isolated, itemLink, quiet, table, visible } from "../dom.js";
import { ask, listen } from "../server.js";
import { count, figure, moment, plural, time } from "../words.js";

const MOST_CHANGES = 20;
const SHOWN = 20;
const LASTS = [1, 3, 10];

export async function user(container, { id, profile }, signal) {
  if (!id) {
    container.append(heading("Users"), finder("/user", "User id", ""), quiet("History, lists, and why each item stands in them."));
    return;
  }
  const facts = h("p", { class: "quiet" }, "Reading…");
  const history = h("div");
  const lists = h("div");
  const changes = h("ol", { class: "changes" }, h("li", { class: "quiet" }, "Nothing since this page was opened. It stays up to date by itself."));
  const why = h("div", {}, quiet("Asked of a recommender, which makes the list anew."));
  const effect = h("div", {}, quiet("Compares the lists that the history gives with and without its last interactions."));
  container.append(
    h("div", { class: "title" }, heading("User ", isolated(id)), finder("/user", "User id", id)), facts,
    h("div", { class: "columns" },
      h("div", {}, card("List", lists)),
      h("div", {}, card("Changes, live", changes), card("History", history))),
    card("Why these items", asking("Explain the list", () => explain(id, profile, why, signal)), why),
    card("What the last interactions changed", h("div", { class: "buttons" }, LASTS.map((last) =>
      asking(last === 1 ? "The last one" : `The last ${last}`, () => compare(id, last, effect, signal)))), effect));

  let before = null;
  listen("/api/user/stream", { id }, signal, (now) => {
    if (now.problem) {
      facts.textContent = visible(now.problem);
      return;
    }
    const own = now.lists.some((list) => list.source === "model");
    facts.textContent = now.interactions ? plural(now.interactions, "interaction") : "Never seen: everybody unknown gets what is popular.";
    history.replaceChildren(now.history.length ? historyTable(now) : quiet("No interactions."));
    const shown = now.lists.find((list) => list.profile === profile) || now.lists[0];
    lists.replaceChildren(...listOf(id, now, shown, before && before.lists.find((list) => list.profile === shown?.profile)));
    if (before) note(before, now, shown, changes);
    container.dataset.interactions = now.interactions;
    container.dataset.own = own;
    before = now;
  }, (standing) => {
    if (!standing) facts.textContent = "The connection is lost; it is tried again.";
  });
}

function historyTable(now) {
  return table(`The newest ${count(now.history.length)} of ${plural(now.interactions, "interaction")}`,
    [{ name: "When" }, { name: "Item" }, { name: "What" }, { name: "Weight", class: "number" }],
    now.history.map((touch) => [moment(touch.at), itemLink(touch.item_id, touch.title), isolated(touch.kind), figure(touch.weight)]));
}

function listOf(id, now, shown, before) {
  if (!shown) return [quiet("No list yet, and no popular one.")];
  const tabs = now.lists.length > 1 && h("nav", { class: "tabs", "aria-label": "Profiles" }, now.lists.map((list) =>
    h("a", { href: `/user?${new URLSearchParams({ id, profile: list.profile })}`, "aria-current": list === shown ? "true" : undefined }, list.profile)));
  const from = shown.source === "model" ? "made by the model" : `what is ${shown.source}`;
  const ranks = new Map((before?.items || []).map((item, place) => [item.item_id, place]));
  return [tabs || "", quiet(`${from}, ${time(shown.generated_at)}; ${shown.items.length} items`),
    h("ol", { class: "ranked" }, shown.items.slice(0, SHOWN).map((item, place) => {
      const was = ranks.get(item.item_id);
      const sign = !before || was === place ? "" : was === undefined ? "new" : was > place ? "up" : "down";
      const words = { new: "new", up: `↑ ${was - place}`, down: `↓ ${place - was}`, "": "" }[sign];
      return h("li", { class: sign }, itemLink(item.item_id, item.title), " ",
        h("span", { class: "sign" }, words), h("span", { class: "score" }, figure(item.score, 3)));
    }))];
}

function note(before, now, shown, changes) {
  const known = new Set(before.history.map((touch) => `${touch.at} ${touch.item_id} ${touch.kind} ${touch.weight}`));
  const events = now.history.filter((touch) => !known.has(`${touch.at} ${touch.item_id} ${touch.kind} ${touch.weight}`));
  const old = before.lists.find((list) => list.profile === shown?.profile);
  const had = new Set((old?.items || []).map((item) => item.item_id));
  const has = new Set((shown?.items || []).map((item) => item.item_id));
  const came = (shown?.items || []).filter((item) => !had.has(item.item_id));
  const went = (old?.items || []).filter((item) => !has.has(item.item_id));
  if (!events.length && !came.length && !went.length) return;
  if (changes.firstChild?.className === "quiet") changes.replaceChildren();
  changes.prepend(h("li", {}, h("strong", {}, time(Date.now() / 1000)), " ",
    events.flatMap((touch) => [isolated(touch.kind), " ", itemLink(touch.item_id, touch.title), ". "]),
    came.length ? h("span", {}, "In: ", joined(came), ". ") : "", went.length ? h("span", {}, "Out: ", joined(went), ".") : ""));
  while (changes.children.length > MOST_CHANGES) changes.lastChild.remove();
  announce(`${plural(events.length, "new interaction")}; ${came.length} items came into the list`);
}

function joined(items) {
  const some = items.slice(0, 5).flatMap((item, place) => [place ? ", " : "", itemLink(item.item_id, item.title)]);
  return items.length > 5 ? [...some, ` and ${items.length - 5} more`] : some;
}

function asking(label, run) {
  const button = h("button", { type: "button", onclick: async () => {
    button.disabled = true;
    try { await run(); } finally { button.disabled = false; }
  } }, label);
  return button;
}

async function explain(id, profile, place, signal) {
  await replaced(place, signal, async () => {
    const found = await ask("/api/user/why", profile ? { id, profile } : { id }, signal);
    const most = Math.max(1e-9, ...found.items.flatMap((item) => item.because.map((reason) => Math.abs(reason.added))));
    return [quiet(`By ${found.model}, now. A bar is what an item of the history adds to the score.`),
      table("Items with the interactions that they are due to", [{ name: "Item" }, { name: "Score", class: "number" }, { name: "Due to" }],
        found.items.map((item) => [itemLink(item.item_id, item.title), figure(item.score, 3),
          h("ul", { class: "reasons" }, item.because.map((reason) => h("li", {},
            h("meter", { min: 0, max: most, value: Math.abs(reason.added), "aria-label": `adds ${figure(reason.added, 2)}` }),
            itemLink(reason.item_id, reason.title), h("span", { class: "score" }, `${reason.added < 0 ? "−" : "+"}${figure(Math.abs(reason.added), 2)}`))))]))];
  });
}

async function compare(id, last, place, signal) {
  await replaced(place, signal, async () => {
    const found = await ask("/api/user/changes", { id, last }, signal);
    if (!found.items.length) return [quiet("There is no interaction to compare with.")];
    const rows = found.items.slice(0, 2 * SHOWN).map((item) => ({
      class: item.before === null ? "new" : item.rank === null ? "gone" : "",
      cells: [itemLink(item.item_id, item.title), item.rank ?? "not listed", item.before ?? "not listed", moved(item)],
    }));
    return [h("p", {}, "Last: ", joined(found.events), "."),
      quiet(`By ${found.model}, now, each interaction counting the same.`),
      table("Ranks with and without the last interactions", [{ name: "Item" }, { name: "Rank now", class: "number" }, { name: "Without", class: "number" }, { name: "" }], rows)];
  });
}

function moved(item) {
  if (item.before === null) return "new";
  if (item.rank === null) return "gone";
  if (item.rank === item.before) return "";
  return item.rank < item.before ? `↑ ${item.before - item.rank}` : `↓ ${item.rank - item.before}`;
}

async function replaced(place, signal, make) {
  place.setAttribute("aria-busy", "true");
  try {
    place.replaceChildren(...await make());
    announce("Answered");
  } catch (error) {
    if (!signal.aborted) place.replaceChildren(h("p", { class: "problem", role: "alert" }, error.message));
  } finally {
    place.removeAttribute("aria-busy");
  }
}
