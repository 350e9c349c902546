// The browser's half of a live figure: draws the newest frame, once per animation frame, and reports it.
// plotly.js arrives through one shared widget model, when the first figure asks for it, once per page.

const LOADED = "__course_utils_plotly";
const QUIET_MS = 5000; // a screen reader is told at most this often
const NEWS_MS = 10_000; // a run that trains and says nothing for so long may have lost its kernel
const STILL_MS = 1500; // a run that has stood for so long gets its picture stored
const NO_NEWS = "No news for ten seconds: the kernel is busy, or it or its server has gone. If this stays: start " +
  "JupyterLab again if it has stopped, reload this page, and run the cell again.";

function other(model, name) {
  return model.widget_manager.get_model(model.get(name).slice("IPY_MODEL_".length));
}

// A page's content policy may forbid scripts from a blob, scripts within the page, or both.
const WAYS = [
  async (script, code) => {
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    await new Promise((done) => {
      script.onload = script.onerror = done;
      script.src = url;
      document.head.append(script);
    });
    URL.revokeObjectURL(url);
  },
  async (script, code) => {
    script.textContent = code;
    document.head.append(script);
  },
];

// A message may be lost where the page is busy, or its kernel: so it is said again until `say` returns false.
function repeat(say, wait = 2000) {
  if (say()) setTimeout(() => repeat(say, 2 * wait), wait);
}

function fetchCode(library) {
  return new Promise((arrived) => {
    let waiting = true;
    library.on("msg:custom", (_content, buffers) => {
      waiting = false;
      arrived(buffers[0]);
    });
    repeat(() => waiting && (library.send({ type: "code" }), true));
  });
}

async function loadPlotly(model) {
  const packed = new Blob([await fetchCode(await other(model, "library"))]).stream().pipeThrough(new DecompressionStream("gzip"));
  const code = await new Response(packed).text();
  for (const run of WAYS) {
    await run(document.createElement("script"), code);
    if (window.Plotly) return window.Plotly;
  }
  throw new Error("this page lets no script of a widget run");
}

// Which tab, and which load of it: the views of an earlier load have gone, and cannot say so themselves.
const LOAD = String(Math.random());
function tab() {
  try {
    return (sessionStorage.courseTab ??= String(Math.random()));
  } catch {
    return LOAD; // a page without storage
  }
}

function plotly(model) {
  window[LOADED] ??= loadPlotly(model).catch((error) => {
    window[LOADED] = undefined; // the next figure tries again
    throw error;
  });
  return window[LOADED];
}

function element(tag, className, parent) {
  const made = document.createElement(tag);
  made.className = className;
  parent.append(made);
  return made;
}

// Arrays travel as float32 buffers; {"buffer": 3, "shape": [2, 5]} in a trace says where one belongs, and has
// "dtype": "float64" where the numbers need it. plotly would read texts as HTML: they are shown letter by letter.
const LITERAL = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
function unpack(value, buffers) {
  if (Array.isArray(value)) return value.map((part) => unpack(part, buffers));
  if (typeof value === "string") return value.replace(/[&<>]/g, (mark) => LITERAL[mark]);
  if (value === null || typeof value !== "object") return value;
  if ("buffer" in value) {
    const view = buffers[value.buffer];
    const Numbers = value.dtype === "float64" ? Float64Array : Float32Array;
    const flat = new Numbers(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    if (value.shape.length < 2) return flat;
    const [rows, columns] = value.shape;
    return Array.from({ length: rows }, (_, row) => flat.subarray(row * columns, (row + 1) * columns));
  }
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, unpack(part, buffers)]));
}

// JupyterLab's own colours, so that a figure follows the light and the dark theme.
function themed(layout, node) {
  const style = getComputedStyle(node);
  const ink = style.getPropertyValue("--jp-ui-font-color1").trim() || style.color;
  const paper = style.getPropertyValue("--jp-layout-color0").trim() || "#ffffff";
  const hover = { bgcolor: paper, font: { color: ink } };
  return { ...layout, font: { ...layout.font, color: ink }, hoverlabel: hover };
}

// The newest value of each curve, for those who do not see it.
function newest(data, spec) {
  const values = data.flatMap(({ mode, y }, i) => mode?.includes("lines") && spec.data[i].name && y.length ?
    [`${spec.data[i].name} ${Number(y.at(-1).toPrecision(3))}`] : []);
  return values.length ? [`At its right end, ${spec.layout.yaxis.title.text}: ${values.join(", ")}.`] : [];
}

const CONFIG = {
  displaylogo: false,
  responsive: false,
  showSendToCloud: false,
  plotlyServerURL: "",
  typesetMath: false, // a $ is a $, where a front end has MathJax
  modeBarButtons: [["toImage", "zoom2d", "resetScale2d"]],
};

class View {
  constructor(model, el) {
    this.model = model;
    this.id = crypto.randomUUID ? crypto.randomUUID() : String(Math.random());
    this.root = element("div", "cu-figure", el);
    this.status = element("div", "cu-status", this.root);
    this.bar = element("progress", "cu-progress", this.root);
    this.bar.setAttribute("aria-label", "share of the steps done");
    this.bar.hidden = true;
    this.plots = element("div", "cu-plots", this.root);
    this.texts = element("div", "cu-texts", this.root);
    this.spoken = element("div", "cu-spoken", this.root);
    this.spoken.setAttribute("aria-live", "polite");
    this.frame = null;
    this.skeleton = [];
    this.spokenAt = 0;
    this.drawnAt = 0;
    this.calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  }

  async open() {
    this.resize = new ResizeObserver(() => this.fit());
    this.resize.observe(this.plots);
    this.seen = new IntersectionObserver(() => this.schedule());
    this.seen.observe(this.root);
    // JupyterLab hides its page while it changes the theme, until the next animation frame.
    this.theme = new MutationObserver(() => requestAnimationFrame(() => this.schedule()));
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
    this.status.textContent = "Loading the figure …";
    try {
      this.channel = await other(this.model, "channel");
      this.Plotly = await plotly(this.model);
    } catch (error) {
      this.status.textContent = `The figure cannot be drawn: ${error.message}. Reload the page.`;
      return;
    }
    if (this.closed) return;
    this.channel.on("msg:custom", this.receive, this);
    this.news = setInterval(() => this.askNews(), 1000);
    repeat(() => !this.closed && !this.frame && this.tell({ type: "ready", tab: tab(), load: LOAD }));
  }

  askNews() {
    if (this.root.dataset.status === "running" && performance.now() - this.receivedAt > NEWS_MS) {
      this.status.textContent = NO_NEWS;
    }
  }

  close() {
    clearInterval(this.news);
    clearTimeout(this.still);
    this.channel?.off("msg:custom", this.receive, this);
    for (const observer of [this.resize, this.seen, this.theme]) observer.disconnect();
    for (const node of this.plots.children) this.Plotly?.purge(node);
    this.closed = true;
    this.tell({ type: "gone" });
  }

  tell(message) {
    try {
      this.channel?.send({ ...message, view: this.id });
    } catch (error) {
      console.debug("the kernel has gone", error); // it was restarted: the cell has to be run again
    }
    return true;
  }

  receive(content, buffers) {
    if (content.type !== "frame") return;
    if (content.skeleton) this.skeleton = content.skeleton;
    this.receivedAt = performance.now();
    this.frame = { ...content, buffers };
    if (this.waiting) this.tell({ type: "waiting" }); // a hidden page draws nothing, but somebody will come back
    this.schedule();
  }

  schedule() {
    if (this.waiting || this.closed || !this.frame || !this.Plotly) return;
    this.waiting = true;
    const soon = () => requestAnimationFrame(() => this.draw());
    if (this.calm.matches) setTimeout(soon, Math.max(0, 1000 - (performance.now() - this.drawnAt)));
    else soon();
  }

  draw() {
    this.waiting = false;
    if (this.closed) return;
    const { n, status, summary, state, buffers } = this.frame;
    this.drawPlots(this.skeleton, buffers, summary); // first, while the page is laid out: it reads sizes
    this.status.textContent = status;
    this.bar.hidden = this.frame.progress === null;
    this.bar.value = this.frame.progress ?? 0;
    this.drawTexts(this.frame.texts);
    this.speak(status);
    nameControls(this.root);
    this.drawnAt = performance.now();
    Object.assign(this.root.dataset, state, { frame: n });
    this.tell({ type: "drawn", n });
    clearTimeout(this.still);
    if (state.step > 0 && state.status !== "running") this.still = setTimeout(() => this.keepPicture(), STILL_MS);
  }

  // Pictures for the notebook's file, on white paper: what is seen when it is opened without a kernel.
  async keepPicture() {
    const urls = [];
    for (const { data, layout, clientWidth: width } of this.plots.children) {
      if (!width) return;
      const font = { ...layout.font, color: "#333333" };
      const paper = { ...layout, font, paper_bgcolor: "white", plot_bgcolor: "white" };
      urls.push(await this.Plotly.toImage({ data, layout: paper, config: CONFIG }, { format: "webp", width, height: layout.height }));
    }
    this.tell({ type: "picture", urls, summary: this.frame.summary });
  }

  drawPlots(skeleton, buffers, summary) {
    while (this.plots.children.length > skeleton.length) this.plots.lastChild.remove();
    while (this.plots.children.length < skeleton.length) {
      const node = element("div", "cu-plot", this.plots);
      node.setAttribute("role", "figure"); // not "img": plotly's buttons are in it
    }
    skeleton.forEach((spec, i) => {
      const node = this.plots.children[i];
      const height = `${spec.layout.height}px`;
      if (node.style.minHeight !== height) node.style.minHeight = height;
      const data = unpack(spec.data, buffers);
      const width = node.clientWidth;
      if (width > 0) { // else not laid out yet: drawn when it is
        const layout = { ...themed(unpack(spec.layout, buffers), node), width };
        this.Plotly.react(node, data, layout, CONFIG);
      }
      node.setAttribute("aria-label", [`${spec.layout.title.text}.`, summary, ...newest(data, spec)].join(" "));
    });
  }

  drawTexts(texts) {
    const now = JSON.stringify(texts);
    if (now === this.lastTexts) return;
    this.lastTexts = now;
    this.texts.replaceChildren();
    for (const { title, body } of texts) {
      const box = element("figure", "cu-text", this.texts);
      element("figcaption", "cu-text-title", box).textContent = title;
      element("pre", `cu-text-body ${/ {3}/.test(body) ? "cu-table" : ""}`, box).textContent = body;
    }
  }

  speak(text) {
    if (performance.now() - this.spokenAt < QUIET_MS) return;
    this.spokenAt = performance.now();
    this.spoken.textContent = text;
  }

  fit() {
    const width = this.plots.clientWidth;
    if (width > 0 && width !== this.lastWidth) {
      this.lastWidth = width;
      this.schedule();
    }
  }
}

// ipywidgets' sliders and their number boxes carry no name that a screen reader can find: give them the visible label.
// They may appear after the first picture, and again with a second view: so each picture looks for new ones.
function nameControls(el) {
  for (const handle of el.closest(".cu-panel")?.querySelectorAll(".cu-dial .noUi-handle:not([aria-label])") ?? []) {
    const dial = handle.closest(".cu-dial");
    const label = dial.querySelector(".widget-label")?.textContent ?? "";
    handle.setAttribute("aria-label", label);
    const box = dial.querySelector("input[type=number]");
    box?.setAttribute("aria-label", `${label}, as a number`);
    box?.addEventListener("beforeinput", (event) => {
      const lost = event.data?.match(/[^-+.,0-9eE]/); // a browser drops it without a word
      box.setCustomValidity(lost ? `${lost[0]} is no part of a number such as 0.01 or 1e-3` : "");
      if (lost) box.reportValidity();
    });
    box?.addEventListener("change", () => {
      if (!box.validity.badInput) return; // such as 1e400: a browser makes nothing of it
      box.setCustomValidity("no number that counts: the earlier one stays");
      box.reportValidity();
      box.setCustomValidity("");
    });
    box?.addEventListener("keydown", (event) => {
      if (event.key !== ",") return; // a decimal point to many people: a browser may drop it, and 0,01 would be 1
      event.preventDefault();
      document.execCommand("insertText", false, ".");
    });
  }
}

// When a page is loaded again, ipywidgets looks two seconds for a card's model, and may give up in the very moment in
// which it is made (1 load in 10 or so, more on a slow page): the card is put in its place then. A message that is
// never taken back says "model not found" there; the output below each card says which model it was.
async function putBack(manager, stored) {
  const place = stored.closest(".jp-OutputArea-child")?.previousElementSibling?.querySelector(".jupyter-widgets");
  const { card } = stored.dataset;
  if (!card || place?.textContent !== "Error displaying widget: model not found" || !manager.has_model(card)) return;
  place.textContent = "";
  const { luminoWidget } = await manager.create_view(await manager.get_model(card));
  luminoWidget.constructor.attach(luminoWidget, place);
}

let watching = false;
function watchCards(manager) {
  if (watching) return; // once in a page
  watching = true;
  const look = () => document.querySelectorAll(".cu-stored").forEach((stored) => putBack(manager, stored));
  const timer = setInterval(look, 1000);
  setTimeout(() => clearInterval(timer), 120_000);
}

export default {
  initialize({ model }) {
    watchCards(model.widget_manager);
  },
  render({ model, el }) {
    const view = new View(model, el);
    view.open();
    return () => view.close();
  },
};
