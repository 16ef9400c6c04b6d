// The model versions: which serves, how good they are, and the report of their training.

import { card, h, heading, pairs, problem, quiet, table, visible } from "../dom.js";
import { ask } from "../server.js";
import { count, figure, moment, size } from "../words.js";

const STATES = {
  current: "current: lists are made by it", serving: "serves until the items are encoded under the current one",
  before: "where a rollback leads to", control: "control of the experiment", challenger: "challenger of the experiment",
};

export async function models(container, { version }, signal) {
  container.append(h("div", { class: "title" }, heading("Models")));
  const found = await ask("/api/models", null, signal);
  if (!found.versions.length) {
    container.append(quiet(`There is none in ${found.registry}: latentstream train makes one.`));
    return;
  }
  if (found.training) {
    container.append(card("Last training", pairs(Object.entries(found.training)
      .filter(([, value]) => typeof value !== "object").map(([name, value]) => [name.replaceAll("_", " "), visible(name === "ended_at" && typeof value === "number" ? moment(value) : String(value))]))));
  }
  const measured = [...new Set(found.versions.flatMap((one) => Object.keys(one.metrics)))];
  container.append(card("Versions", table("Versions, the newest first",
    [{ name: "Version" }, { name: "" }, { name: "Content" }, { name: "Interactions" }, { name: "Items", class: "number" }, { name: "Size", class: "number" }, { name: "Report" }],
    found.versions.map((one) => one.problem
      ? [one.version, badge(one.state), h("span", {}, visible(one.problem)), "", "", "", ""]
      : [h("a", { href: `/models?${new URLSearchParams({ version: one.version })}` }, one.version), badge(one.state), [one.content, one.codec].filter(Boolean).join(", "), one.interaction,
        count(one.trained_items), size(one.bytes),
        one.report ? h("a", { href: `/models?${new URLSearchParams({ version: one.version })}#report` }, "read") : "none"]))));
  if (measured.length) {
    container.append(card("Figures of their trainings", table("Figures", [{ name: "" }, ...found.versions.map((one) => ({ name: one.version, class: "number" }))],
      measured.map((name) => [name.replaceAll("_", " "), ...found.versions.map((one) => figure(one.metrics[name]))]))));
  }
  const chosen = found.versions.find((one) => one.version === version) || found.versions.find((one) => one.state === "current" && !one.problem);
  if (chosen) container.append(details(chosen));
  container.append(card("Changes of the current model", found.promotions.length
    ? table("Promotions, the newest first", [{ name: "When" }, { name: "What" }, { name: "Version" }, { name: "Before" }, { name: "By" }, { name: "Why" }],
      found.promotions.map((one) => [one.at, one.kind, one.version, one.before || "none", visible(one.by), visible(one.why)]))
    : quiet("None is noted.")));
}

function badge(state) {
  return state ? h("span", { class: "badge", title: STATES[state] }, state) : "";
}

function details(one) {
  if (one.problem) return problem(one.problem);
  const rows = pairs([
    ["State", STATES[one.state] || "not in use"],
    one.trained_until !== null && ["Newest interaction trained on", moment(one.trained_until)],
    ...Object.entries(one.events).map(([topic, number]) => [`Events of ${topic}`, count(number)]),
  ]);
  const report = one.report
    ? h("iframe", { id: "report", title: `Report of the training of ${one.version}`, src: `/report?${new URLSearchParams({ version: one.version })}`, sandbox: true, loading: "lazy" })
    : quiet("It has no report: latentstream worker trainer writes one beside each version that it trains.");
  return card(one.version, rows, report);
}
