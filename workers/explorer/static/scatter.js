// Points on the graphics card: one buffer of places, one of levels, and a palette to look the levels up in.
//
// Where a whole drawing fits into a frame, each frame is one. Where it does not (a million points without a graphics
// card take some 0.1 s), what was drawn is moved and stretched meanwhile, which costs nothing, and the points are
// drawn anew when the hand rests or the edge of the drawing comes into sight. The drawing is larger than what is seen.

const VERTEX = `#version 300 es
in vec2 place; in float level; uniform vec2 middle; uniform vec2 scale; uniform mediump float size; uniform highp sampler2D palette;
out vec4 colour;
void main() {
  gl_Position = vec4((place - middle) * scale, 0.0, 1.0);
  gl_PointSize = size;
  colour = texelFetch(palette, ivec2(int(level), 0), 0);
}`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec4 colour; uniform float size; out vec4 shown;
void main() {
  if (size > 3.5 && length(gl_PointCoord - 0.5) > 0.5) discard;
  shown = colour;
}`;
const MARGIN = 0.4;
const FRAME_MS = 8;
const REST_MS = 120;

export class Scatter {
  // `box` is the element that shows the points; `moved` is called when the view has changed.
  constructor(box, moved) {
    this.box = box;
    this.moved = moved;
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    box.prepend(this.canvas);
    this.gl = this.canvas.getContext("webgl2", { antialias: false, depth: false });
    if (!this.gl) throw new Error("this browser has no WebGL 2, which the map is drawn with");
    this.count = 0;
    this.view = { x: 0, y: 0, half: 1 };
    this.drawn = { ...this.view };
    this.cost = 0;
    this.asked = false;
    this.held = false;
    this.#program();
    this.#fit();
  }

  // What is shown of `places`, x and y in turn, is `home`: its middle and half of its longer side. `colour` draws them.
  set(places, home) {
    this.places = places;
    this.count = places.length / 2;
    this.#fill("place", places, 2, this.gl.FLOAT);
    this.home = home;
    this.view = { ...home };
  }

  colour(levels, palette) {
    const { gl } = this;
    this.#fill("level", levels, 1, gl.UNSIGNED_BYTE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, palette);
    this.draw();
  }

  look(view) {
    this.view = { ...view };
    this.draw();
  }

  pan(pixelsX, pixelsY) {
    const unit = this.#unit(this.view);
    this.view.x -= pixelsX * unit;
    this.view.y += pixelsY * unit;
    this.#soon();
  }

  // Zoom by `factor` so that what is at a pixel of the box stays there.
  zoom(factor, pixelX = this.box.clientWidth / 2, pixelY = this.box.clientHeight / 2) {
    const before = this.at(pixelX, pixelY);
    this.view.half = Math.min(Math.max(this.view.half / factor, this.home.half * 1e-5), this.home.half * 20);
    const after = this.at(pixelX, pixelY);
    this.view.x += before.x - after.x;
    this.view.y += before.y - after.y;
    this.#soon();
  }

  // The place in the plane of a pixel of the box, and back.
  at(pixelX, pixelY) {
    const unit = this.#unit(this.view);
    return { x: this.view.x + (pixelX - this.box.clientWidth / 2) * unit, y: this.view.y - (pixelY - this.box.clientHeight / 2) * unit };
  }

  pixel(x, y) {
    const unit = this.#unit(this.view);
    return { x: (x - this.view.x) / unit + this.box.clientWidth / 2, y: (this.view.y - y) / unit + this.box.clientHeight / 2 };
  }

  // The point nearest to a pixel, at most `reach` pixels away; -1 where there is none.
  nearest(pixelX, pixelY, reach = 12) {
    const { x, y } = this.at(pixelX, pixelY);
    const { places } = this;
    let best = (reach * this.#unit(this.view)) ** 2;
    let found = -1;
    for (let point = 0; point < this.count; point += 1) {
      const away = (places[2 * point] - x) ** 2 + (places[2 * point + 1] - y) ** 2;
      if (away < best) { best = away; found = point; }
    }
    return found;
  }

  resize() {
    if (this.#fit()) this.draw();
  }

  draw() {
    const { gl, view } = this;
    clearTimeout(this.resting);
    const began = performance.now();
    const unit = this.#unit(view);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.uniforms.middle, view.x, view.y);
    gl.uniform2f(this.uniforms.scale, 2 / (unit * this.width), 2 / (unit * this.height));
    gl.uniform1f(this.uniforms.size, this.#size());
    gl.drawArrays(gl.POINTS, 0, this.count);
    // Waits until it is drawn: what it cost decides how the next frames are made.
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, this.onePixel);
    this.cost = performance.now() - began;
    this.drawn = { ...view };
    this.#place();
  }

  close() {
    clearTimeout(this.resting);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  #soon() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      if (this.cost < FRAME_MS || this.#edgeSeen()) {
        this.draw();
        return;
      }
      this.#place();
      this.#rest();
    });
  }

  // A hand has taken hold of the map, or let it go.
  hold(held) {
    this.held = held;
    this.#rest();
  }

  #rest() {
    clearTimeout(this.resting);
    const moved = ["x", "y", "half"].some((name) => this.drawn[name] !== this.view[name]);
    if (moved && !this.held) this.resting = setTimeout(() => this.draw(), Math.max(REST_MS, this.cost));
  }

  // Lay the drawing so that it fits the view, which may have changed since.
  #place() {
    const factor = this.drawn.half / this.view.half;
    const unit = this.#unit(this.view);
    const left = this.box.clientWidth / 2 + (this.drawn.x - this.view.x) / unit - (this.width * factor) / 2;
    const top = this.box.clientHeight / 2 - (this.drawn.y - this.view.y) / unit - (this.height * factor) / 2;
    this.canvas.style.transform = `translate(${left}px, ${top}px) scale(${factor})`;
    this.moved();
  }

  #edgeSeen() {
    const factor = this.drawn.half / this.view.half;
    if (factor < 1) return false; // Zooming out shows a smaller drawing until the hand rests.
    const unit = this.#unit(this.view);
    const spareX = (this.width * factor - this.box.clientWidth) / 2;
    const spareY = (this.height * factor - this.box.clientHeight) / 2;
    return Math.abs(this.drawn.x - this.view.x) / unit > spareX || Math.abs(this.drawn.y - this.view.y) / unit > spareY;
  }

  #unit(view) {
    return (2 * view.half * 1.08) / Math.min(this.box.clientWidth, this.box.clientHeight);
  }

  #size() {
    const zoomed = Math.sqrt(this.home ? this.home.half / this.view.half : 1);
    const crowded = this.count > 300000 ? 1.5 : this.count > 30000 ? 2.2 : this.count > 3000 ? 4 : 7;
    return Math.min(Math.max(crowded * zoomed, 1), 12) * this.ratio;
  }

  // Returns whether the size of the box has changed.
  #fit() {
    const [width, height] = [this.box.clientWidth, this.box.clientHeight].map((side) => Math.round(side * (1 + 2 * MARGIN)));
    if (width === this.width && height === this.height) return false;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    this.width = width;
    this.height = height;
    this.canvas.width = this.width * this.ratio;
    this.canvas.height = this.height * this.ratio;
    this.canvas.style.width = `${this.width}px`;
    this.canvas.style.height = `${this.height}px`;
    return true;
  }

  #program() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`the map cannot be drawn: ${gl.getProgramInfoLog(program)}`);
    gl.useProgram(program);
    this.program = program;
    this.uniforms = Object.fromEntries(["middle", "scale", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
    this.onePixel = new Uint8Array(4);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    this.buffers = {};
  }

  #fill(name, values, width, type) {
    const { gl } = this;
    this.buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    const where = gl.getAttribLocation(this.program, name);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, width, type, false, 0, 0);
  }
}
