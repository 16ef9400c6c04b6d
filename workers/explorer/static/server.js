// What is asked of the server.

export class Refused extends Error {}

const RETRY_MS = 3000;

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
// A browser tries again after a lost connection, and not after a refusal, such as of a proxy whose server starts.
export function listen(path, parameters, signal, hear, stand = () => {}) {
  let source = null;
  let retrying = 0;
  const close = () => { clearTimeout(retrying); source?.close(); source = null; };
  const follow = () => {
    close();
    if (document.hidden) return;
    source = new EventSource(`${path}${parameters ? `?${new URLSearchParams(parameters)}` : ""}`);
    source.onmessage = (event) => hear(JSON.parse(event.data));
    source.onopen = () => stand(true);
    source.onerror = () => {
      stand(false);
      if (source?.readyState === EventSource.CLOSED) retrying = setTimeout(follow, RETRY_MS);
    };
  };
  document.addEventListener("visibilitychange", follow, { signal });
  signal.addEventListener("abort", close);
  follow();
}
