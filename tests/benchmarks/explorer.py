"""How fast the explorer opens, how fast its map moves, and how soon an interaction shows, in a real browser.

    python -m tests.benchmarks.explorer [--points 100000,1000000]

Starts a Redis of its own with so many items under a made-up model, the local stack with the workers under a small
trained one, an explorer on each, and a headless Chromium. Opening is from the navigation until the view shows what it
is for. A frame is what the browser grants (`requestAnimationFrame`) while pointer events pan the map, each frame one.
An interaction is timed from handing it to the Kafka producer until it stands in the open page of its user.

Why the map is drawn by some 200 lines of our own (`scatter.js`), and not by a library: measured before they were
written, in the same browser on two cores that others used as well (a load of 20), everything drawn anew in each frame
as all of these do, 100,000 and 1,000,000 points: plain WebGL 2.2 and 0.8 frames a second, regl-scatterplot 1.16 1.5
and 0.5, plotly.js of plotly 7.1 1.5 and not tried, deck.gl 9.4 0.2 and 0.0. Without a graphics card nothing that draws
all points in each frame is smooth, so what was drawn last is moved instead, and only the points are drawn by WebGL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import redis

from deploy.local import stack
from models.codecs import Int8Codec
from models.files import save_arrays
from schemas.events import InteractionEvent, encode
from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, train_world
from tests.e2e.world import make_world
from tests.explorer.browser import Page, browser, explorer
from tests.processes import worker_process
from workers import connections
from workers.bench.private_redis import private_redis
from workers.bench.stored_items import store_items

DIM: Final = 32
GROUPS: Final = 12
PAN_S: Final = 5.0
OPENINGS: Final = 5
INTERACTIONS: Final = 20
_VERSION: Final = "20260101T000000-00000000"
_FRAMES: Final = """
const [seconds, pans, done] = arguments;
const box = document.querySelector(".map");
const corner = box.getBoundingClientRect();
box.setPointerCapture = () => {};
const send = (type, x) => box.dispatchEvent(new PointerEvent(type, {
  pointerId: 7, bubbles: true, clientX: corner.x + x, clientY: corner.y + 200 }));
if (pans) send("pointerdown", 400);
const began = performance.now();
let frames = 0, longest = 0, last = began;
function step() {
  const now = performance.now();
  longest = Math.max(longest, now - last);
  last = now;
  frames += 1;
  if (now - began > 1000 * seconds) {
    if (pans) send("pointercancel", 400);
    done({ frames_per_s: frames / ((now - began) / 1000), longest_ms: longest });
    return;
  }
  if (pans) send("pointermove", 400 + 250 * Math.sin(frames / 25));
  requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""
_SHOWN_AT: Final = """
const [selector, text] = arguments;
window.shown = new Promise((done) => {
  const look = () => Array.from(document.querySelectorAll(selector)).some((one) => one.textContent.includes(text));
  const observer = new MutationObserver(() => { if (look()) { observer.disconnect(); done(Date.now()); } });
  observer.observe(document.querySelector("main"), { childList: true, subtree: true, characterData: true });
});
"""


@contextmanager
def made_up(points: int, home: Path) -> Iterator[str]:
    """Give the address of an explorer of a system with so many items."""
    rng = np.random.default_rng(0)
    groups = rng.integers(0, GROUPS, points)
    latents = (rng.normal(0, 2, (GROUPS, DIM))[groups] + rng.normal(0, 0.5, (points, DIM))).astype(np.float32)
    codec = Int8Codec.fit(latents[:10_000])
    bundle = home / "models" / _VERSION
    bundle.mkdir(parents=True)
    save_arrays(bundle / "content_codec.npz", codec.arrays())
    digest = hashlib.sha256((bundle / "content_codec.npz").read_bytes()).hexdigest()
    files = {"content_codec.npz": {"sha256": digest, "size": 0}}
    manifest = {"version": _VERSION, "codec": "int8", "content": {"input_shape": [DIM]}, "files": files}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    attributes = [b'{"title":"Item %d","group":"g%d"}' % (item, group) for item, group in enumerate(groups.tolist())]
    with private_redis() as client:
        port = client.connection_pool.connection_kwargs["port"]
        base = Settings(home=home)
        settings = base.model_copy(update={"redis": base.redis.model_validate({"url": f"redis://127.0.0.1:{port}/0"})})
        client.hset(Keys(settings.redis.prefix).model, "version", _VERSION)
        store_items(
            client, settings, _VERSION, [str(item) for item in range(points)], codec.encode(latents), attributes
        )
        with explorer(settings) as address:
            yield address


def opened_ms(page: Page, view: str, selector: str) -> float:
    """Return how long a view takes from the navigation until ``selector`` matches, by the browser's clock."""
    page.get("about:blank")
    page.show(view)
    script = """const [selector, done] = arguments;
      const look = () => document.querySelector(selector) ? done(performance.now()) : setTimeout(look, 2); look();"""
    found: float = page.execute_async_script(script, selector)
    return found


def map_figures(page: Page, points: int) -> dict[str, Any]:
    """Return how the explorer of so many items opens and moves."""
    with tempfile.TemporaryDirectory(prefix="latentstream-bench-") as name, made_up(points, Path(name)) as base:
        page.base = base
        page.show("/map")
        began = time.monotonic()
        while not page.all("[data-ready]"):
            assert time.monotonic() - began < 300, page.text()
            time.sleep(0.1)
        live = [opened_ms(page, "/", "[data-at]") for _ in range(OPENINGS)]
        opened = [opened_ms(page, "/map", "[data-ready]") for _ in range(OPENINGS)]
        at_rest = page.execute_async_script(_FRAMES, PAN_S, False)
        panned = page.execute_async_script(_FRAMES, PAN_S, True)
        return {
            "points": points,
            "live_opens_ms": round(statistics.median(live)),
            "map_opens_ms": round(statistics.median(opened)),
            "frames_per_s": round(panned["frames_per_s"], 1),
            "longest_frame_ms": round(panned["longest_ms"]),
            "frames_per_s_at_rest": round(at_rest["frames_per_s"], 1),
        }


def interaction_figures(page: Page) -> dict[str, Any]:
    """Return how long interactions take to show in the page of their user."""
    with ExitStack() as entered:
        home = Path(entered.enter_context(tempfile.TemporaryDirectory(prefix="latentstream-bench-")))
        stack.up(Settings(home=home), print)
        entered.callback(lambda: stack.down(Settings(home=home), print, delete_data=True))
        settings = Settings(home=home)
        world = make_world()
        version = train_world(world, home)
        client: redis.Redis = connections.redis_client(settings.redis)
        connections.ensure_topics(settings)
        client.hset(Keys(settings.redis.prefix).model, "version", version)
        entered.enter_context(worker_process(settings, "encoder"))
        entered.enter_context(worker_process(settings, "recommender"))
        publish(settings, [*world.items, *world.interactions])
        progress = Progress(settings, client)
        progress.wait()
        progress.close()
        page.base = entered.enter_context(explorer(settings))
        page.show("/user?id=42")
        page.wait_for("made by")
        producer = connections.producer(settings)
        took = []
        for number in range(INTERACTIONS):
            kind = f"kind-{number}"
            page.execute_script(_SHOWN_AT, "main table", kind)
            sent = time.time()
            event = InteractionEvent(user_id="42", item_id=str(number + 1), kind=kind)
            producer.send(settings.kafka.interactions_topic, key=b"42", value=encode(event))
            shown = page.execute_async_script("window.shown.then(arguments[0])")
            took.append(shown - 1000 * sent)
            time.sleep(0.1)
        producer.close()
        return {"interaction_shows_ms": {"median": round(statistics.median(took)), "longest": round(max(took))}}


def main() -> None:
    """Print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", default="100000,1000000", help="Numbers of items, with commas between them.")
    points = [int(part) for part in parser.parse_args().points.split(",")]
    with browser() as page:
        page.set_script_timeout(60)
        for one in points:
            print(msgspec.json.encode(map_figures(page, one)).decode(), flush=True)
        print(msgspec.json.encode(interaction_figures(page)).decode())


if __name__ == "__main__":
    main()
