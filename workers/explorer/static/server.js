// What is asked of the server.

export class Refused extends Error {}

async function answered(path, parameters, signal) {
  const query = parameters && Object.keys(parameters).length ? `?${new URLSearchParams(parameters)}` : "";
  const reply = await fetch(`${path}${query}`, { signal });
  if (reply.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  if (!reply.ok) {
    let told = `the server answered ${reply.status}`;
    if ((reply.headers.get("content-type") || "").includes("json")) told = (await reply.json()).problem || told;
    throw new Refused(told);
  }
  return reply;
}

export async function ask(path, parameters, signal) {
  return (await answered(path, parameters, signal)).json();
}

export async function askBytes(path, parameters, signal) {
  return (await answered(path, parameters, signal)).arrayBuffer();
}

// Calls `hear` with each message until `signal` is aborted; `stand` with whether the connection stands. A page that
// nobody sees does not listen: a browser has no more than six connections to a server. What was said is said again.
export function listen(path, parameters, signal, hear, stand = () => {}) {
  let source = null;
  const close = () => { source?.close(); source = null; };
  const follow = () => {
    close();
    if (document.hidden) return;
    source = new EventSource(`${path}${parameters ? `?${new URLSearchParams(parameters)}` : ""}`);
    source.onmessage = (event) => hear(JSON.parse(event.data));
    source.onopen = () => stand(true);
    source.onerror = () => stand(false);
  };
  document.addEventListener("visibilitychange", follow, { signal });
  signal.addEventListener("abort", close);
  follow();
}
