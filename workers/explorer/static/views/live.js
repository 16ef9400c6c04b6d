// What flows, now.

import { chart } from "../charts.js";
import { announce, card, h, heading, isolated, itemLink, pairs, problem, table, userLink, visible } from "../dom.js";
import { ask, listen } from "../server.js";
import { count, duration, figure, plural, rate, size, time } from "../words.js";

const EVENTS = 14;
const STALE_S = 2.5;

export async function live(container, parameters, signal) {
  const state = h("span", { class: "state" }, "connecting");
  const problems = h("div", { role: "alert" });
  const flows = [flow("Interactions", "users with a history"), flow("Items", "items stored")];
  const delay = chart("Milliseconds from an interaction to its list, median and 95 %", ["median", "95 %"]);
  const delayNow = h("p", { class: "big" }, "–");
  const delayMore = h("p", { class: "quiet" }, "No interaction since this page was opened.");
  const facts = h("div");
  const events = h("tbody");
  const workers = h("div");
  container.append(
    h("div", { class: "title" }, heading("Live"), state),
    problems,
    h("div", { class: "cards" },
      ...flows.map((one) => one.element),
      card("Interaction to list", delayNow, delayMore, delay.element),
      card("System", facts)),
    workers,
    card("Coming in",
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Newest events" },
        h("table", {}, h("caption", { class: "unseen" }, "The newest events, some of each partition"),
          h("thead", {}, h("tr", {}, ...["Time", "User", "What", "Item"].map((name) => h("th", { scope: "col" }, name)))), events))));

  let told = "";
  let facing = "";
  function drawOnce(sample) {
    // What stays the same is left alone: whoever stands on a link, or listens, is not interrupted twice a second.
    const troubles = JSON.stringify(sample.problems);
    if (troubles !== told) problems.replaceChildren(...sample.problems.map((text) => problem(text)));
    told = troubles;
    flows[0].draw(sample.interactions);
    flows[1].draw(sample.items);
    if (sample.event_to_list_ms) {
      const { p50, p95, events: number } = sample.event_to_list_ms;
      delayNow.textContent = `${Math.round(p50)} ms`;
      delayMore.textContent = `median of the last ${count(number)}; 95 % within ${Math.round(p95)} ms`;
      delay.draw();
    }
    const { version, serving, dead_letters, anomalies, queries_waiting, memory_bytes } = sample;
    const known = JSON.stringify([version, serving, dead_letters, anomalies, queries_waiting, memory_bytes && size(memory_bytes)]);
    if (known === facing) return;
    facing = known;
    facts.replaceChildren(pairs([
      ["Model", sample.version ? h("a", { href: "/models" }, sample.version) : "none yet: latentstream train"],
      sample.serving !== sample.version && ["Serving until all is encoded", sample.serving],
      ["Dead letters", h("a", { href: "/dead-letters" }, count(sample.dead_letters || 0))],
      ["Marked as anomalies", count(sample.anomalies || 0)],
      ["Queries waiting", count(sample.queries_waiting)],
      ["Redis memory", sample.memory_bytes === null ? "not told" : size(sample.memory_bytes)],
    ]));
  }

  function take(sample) {
    if (sample.interactions) flows[0].take(sample.at, sample.interactions);
    if (sample.items) flows[1].take(sample.at, sample.items);
    if (sample.event_to_list_ms) delay.add(sample.at, [sample.event_to_list_ms.p50, sample.event_to_list_ms.p95]);
    events.prepend(...sample.recent.map((event) => h("tr", {},
      h("td", {}, time(event.at)),
      h("td", {}, event.user_id ? userLink(event.user_id) : ""),
      h("td", {}, isolated(event.kind)),
      h("td", {}, itemLink(event.item_id)))));
    while (events.children.length > EVENTS) events.lastChild.remove();
  }

  let newest = null;
  let stands = false;
  let heardAt = performance.now();
  let due = false;
  listen("/api/live", null, signal, (sample) => {
    heardAt = performance.now();
    if (newest && sample.at <= newest.at) return;
    take(sample);
    newest = sample;
    if (due) return;
    due = true;
    // What comes at once, as the past does at the beginning, is drawn once.
    requestAnimationFrame(() => { due = false; drawOnce(newest); container.dataset.at = newest.at; });
  }, (standing) => {
    stands = standing;
    if (!standing) announce("The connection is lost; it is tried again.");
  });
  const telling = setInterval(() => {
    const silent = (performance.now() - heardAt) / 1000;
    const fresh = stands && silent < STALE_S;
    state.textContent = fresh ? "live" : stands ? `nothing heard for ${duration(silent)}` : "reconnecting";
    state.className = fresh ? "state on" : "state";
  }, 250);
  signal.addEventListener("abort", () => clearInterval(telling));
  await followWorkers(workers, signal);
}

// What the workers say of themselves, where the settings have their addresses.
async function followWorkers(place, signal) {
  for (;;) {
    let found = [];
    try {
      found = await ask("/api/workers", null, signal);
    } catch (error) {
      if (signal.aborted) return;
      announce(error.message);
    }
    if (!found) return;
    if (found.length) {
      const open = new Set(Array.from(place.querySelectorAll("details[open]"), (one) => one.dataset.address));
      place.replaceChildren(card("Workers", ...found.map((worker) => said(worker, open.has(worker.address)))));
    }
    await new Promise((resolve) => { setTimeout(resolve, found.length ? 5000 : 1000); });
  }
}

function said({ address, figures, problem: trouble }, open) {
  return h("details", { "data-address": address, open }, h("summary", {}, address, trouble ? `: ${visible(trouble)}` : ""),
    table(`Metrics of ${address}`, [{ name: "Metric" }, { name: "Of" }, { name: "Value", class: "number" }],
      figures.map((one) => [one.name, visible(one.of), figure(one.value)])));
}

function flow(title, what) {
  const rates = chart(`${title} a second: coming in, and processed`, ["in", "processed"]);
  const now = h("p", { class: "big" }, "–");
  const facts = h("div");
  return {
    element: card(title, now, h("p", { class: "legend" }, h("span", { class: "key-0" }, "in"), h("span", { class: "key-1" }, "processed")), rates.element, facts),
    take(at, own) { rates.add(at, [own.in_per_s, own.out_per_s]); },
    draw(own) {
      if (!own) return;
      now.replaceChildren(rate(own.out_per_s), h("small", {}, " processed a second"));
      const behind = own.lag === null ? "not known" : !own.lag ? "nothing" : own.lag_s < 1 ? count(own.lag) : `${count(own.lag)}, for ${duration(own.lag_s)}`;
      facts.replaceChildren(pairs([
        ["Waiting", behind],
        [what[0].toUpperCase() + what.slice(1), count(own.stored)],
        ["Events on the topic", `${count(own.events)} in ${plural(own.partitions, "partition")}`],
      ]));
      rates.draw(rate);
    },
  };
}
