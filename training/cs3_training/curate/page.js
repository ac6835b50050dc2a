// The page of cs3-train annotate. Every change is sent at once; the server answers with the masks.
'use strict';

const COLOURS = ['rgb(255,140,0)', 'rgb(0,160,255)'];
const TOOLS = { b: 'box', i: 'include', e: 'exclude', p: 'paint', r: 'rub out' };
const FRAMES_KEPT = 40;
const CORNER = 10; // screen pixels within which a corner is taken
const token = new URLSearchParams(location.search).get('token') || '';
const at = (id) => document.getElementById(id);
const picture = at('picture'), timeline = at('timeline');
const brush = picture.getContext('2d'), line = timeline.getContext('2d');

const state = {
  items: [], index: 0, info: null, drawing: null, frame: 0, image: null, layers: [],
  object: 0, tool: 'b', radius: 12, shown: true, gesture: null, pointer: null,
  view: { scale: 1, x: 0, y: 0 }, undo: [], dirty: false, saving: null, busy: false,
};
const images = new Map(); // number of a frame -> promise of its picture
let player = null;

// ---- the server --------------------------------------------------------------------------------

async function api(path, options = {}) {
  const answer = await fetch('/api/' + path, { ...options, headers: { 'x-cs3-token': token } });
  if (!answer.ok) {
    const text = await answer.text();
    let said = text;
    try { said = JSON.parse(text).error; } catch { /* no JSON: the text itself */ }
    throw new Error(said || `${answer.status}`);
  }
  return answer;
}

function tell(text, bad = false) {
  at('status').textContent = text;
  at('status').classList.toggle('error', bad);
}

async function layersOf(masks) {
  return Promise.all(masks.map((mask) => {
    const bytes = Uint8Array.from(atob(mask.png), (c) => c.charCodeAt(0));
    return createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  }));
}

function imageOf(number) {
  if (!images.has(number)) {
    const path = `items/${state.index}/frames/${number}`;
    images.set(number, api(path).then((a) => a.blob()).then((b) => createImageBitmap(b)));
    if (images.size > FRAMES_KEPT) images.delete(images.keys().next().value);
  }
  return images.get(number);
}

/** Send what was drawn, again and again until nothing has changed since; false where refused. */
function save() {
  if (!state.saving) {
    state.saving = sendAll().finally(() => { state.saving = null; });
  }
  return state.saving;
}

async function sendAll() {
  while (state.dirty) {
    state.dirty = false;
    tell('saving');
    const index = state.index;
    try {
      const body = JSON.stringify(state.drawing);
      const answer = await api(`items/${index}`, { method: 'PUT', body });
      const { masks } = await answer.json();
      const layers = await layersOf(masks);
      state.items[index].verdict = JSON.parse(body).verdict;
      if (!state.dirty) state.layers = layers;
      if (state.gesture === null) draw();
    } catch (error) {
      tell(`not saved: ${error.message}`, true);
      return false;
    }
  }
  tell('saved');
  return true;
}

function changed() {
  state.drawing.verdict = 'open';
  state.dirty = true;
  draw();
  save();
}

/** Remember what was, change it, send it. */
function change(how) {
  state.undo.push(JSON.stringify(state.drawing));
  how(state.drawing);
  changed();
}

// ---- which candidate, which frame --------------------------------------------------------------

async function open(index) {
  if (state.busy || index < 0 || index >= state.items.length) return;
  state.busy = true;
  try {
    if (state.saving) await state.saving;
    tell('reading the video');
    state.index = index;
    state.info = state.drawing = state.image = null;
    state.layers = [];
    state.undo = [];
    state.object = 0;
    images.clear();
    if (player) { player.pause(); URL.revokeObjectURL(player.src); player = null; }
    draw();
    const info = await (await api(`items/${index}`)).json();
    state.info = info;
    state.drawing = info.drawing;
    state.layers = await layersOf(info.masks);
    await show(nearest(info.drawing.frame_ns));
    fit();
    tell('saved');
  } catch (error) {
    tell(error.message, true);
  } finally {
    state.busy = false;
    draw();
  }
}

function nearest(time) {
  const far = state.info.frames.map((stamp) => Math.abs(stamp - time));
  return far.indexOf(Math.min(...far));
}

/** Show a frame of the candidate. */
async function show(number) {
  state.frame = Math.max(0, Math.min(number, state.info.frames.length - 1));
  const wanted = state.frame;
  const image = await imageOf(wanted);
  if (wanted === state.frame) { state.image = image; draw(); }
}

/** Choose another frame to draw on. */
async function choose(number) {
  number = Math.max(0, Math.min(number, state.info.frames.length - 1));
  if (number === state.frame) return;
  change((drawing) => { drawing.frame_ns = state.info.frames[number]; });
  await show(number);
}

async function finish(verdict) {
  if (state.saving) await state.saving;
  state.drawing.verdict = verdict;
  state.dirty = true;
  draw();
  if (await save()) {
    const next = state.items.findIndex((item, k) => k > state.index && item.verdict === 'open');
    if (next >= 0) await open(next);
  } else {
    state.drawing.verdict = 'open';
    draw();
  }
}

async function play() {
  if (!player) {
    const blob = await (await api(`items/${state.index}/sound`)).blob();
    player = new Audio(URL.createObjectURL(blob));
  }
  player.currentTime = 0;
  await player.play();
}

// ---- drawing -----------------------------------------------------------------------------------

function fit() {
  const { width, height } = state.info;
  const scale = Math.min(picture.clientWidth / width, picture.clientHeight / height);
  state.view = {
    scale,
    x: (picture.clientWidth - scale * width) / 2,
    y: (picture.clientHeight - scale * height) / 2,
  };
  draw();
}

function sized(canvas, context) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((v) => Math.round(v * ratio));
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
}

function draw() {
  sized(picture, brush);
  const { view, drawing, info } = state;
  picture.dataset.view = JSON.stringify([view.scale, view.x, view.y]);
  if (drawing && state.image) {
    brush.translate(view.x, view.y);
    brush.scale(view.scale, view.scale);
    brush.imageSmoothingEnabled = view.scale < 2;
    brush.drawImage(state.image, 0, 0, info.width, info.height);
    if (state.shown) for (const layer of state.layers) brush.drawImage(layer, 0, 0);
    const objects = state.gesture ? state.gesture.preview.objects : drawing.objects;
    objects.forEach((object, k) => drawObject(object, k, k === state.object));
    if (state.gesture && state.gesture.stroke) drawStroke(state.gesture.stroke);
    if (state.pointer && 'pr'.includes(state.tool)) {
      circle(...state.pointer, state.radius, COLOURS[state.object]);
    }
  }
  drawTimeline();
  texts();
}

function drawObject(object, k, chosen) {
  brush.lineWidth = (chosen ? 2.5 : 1.5) / state.view.scale;
  brush.strokeStyle = COLOURS[k];
  if (object.box) {
    const [x0, y0, x1, y1] = object.box;
    brush.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  for (const [points, colour] of [[object.include, '#40e050'], [object.exclude, '#ff4040']]) {
    for (const [x, y] of points) {
      brush.fillStyle = colour;
      brush.beginPath();
      brush.arc(x, y, 5 / state.view.scale, 0, 7);
      brush.fill();
    }
  }
}

function drawStroke(stroke) {
  brush.globalAlpha = 0.5;
  brush.strokeStyle = stroke.add ? COLOURS[state.object] : '#000';
  brush.lineWidth = 2 * stroke.radius;
  brush.lineCap = brush.lineJoin = 'round';
  brush.beginPath();
  stroke.points.forEach(([x, y], k) => (k ? brush.lineTo(x, y) : brush.moveTo(x, y)));
  if (stroke.points.length === 1) brush.lineTo(...stroke.points[0]);
  brush.stroke();
  brush.globalAlpha = 1;
}

function circle(x, y, radius, colour) {
  brush.strokeStyle = colour;
  brush.lineWidth = 1.5 / state.view.scale;
  brush.beginPath();
  brush.arc(x, y, radius, 0, 7);
  brush.stroke();
}

function drawTimeline() {
  sized(timeline, line);
  const { info, drawing } = state;
  if (!info || !drawing) return;
  const [width, height] = [timeline.clientWidth, timeline.clientHeight];
  const most = Math.max(...info.peaks, 1e-6), step = width / info.peaks.length;
  line.fillStyle = '#5c6b73';
  info.peaks.forEach((peak, k) => {
    const tall = Math.max((peak / most) * (height - 8), 1);
    line.fillRect(k * step, (height - tall) / 2, Math.max(step - 0.5, 0.5), tall);
  });
  for (const [time, colour] of [[drawing.onset_ns, '#ff5252'], [info.frames[state.frame], '#fff']]) {
    line.fillStyle = colour;
    line.fillRect(((time - info.start_ns) / (info.stop_ns - info.start_ns)) * width - 1, 0, 2, height);
  }
}

function texts() {
  const { info, drawing, items } = state;
  const item = items[state.index];
  const done = items.filter((each) => each.verdict === 'done').length;
  at('place').textContent = items.length
    ? `${state.index + 1} of ${items.length} · ${item.id} · ${done} done` : 'no candidates';
  const verdict = drawing ? drawing.verdict : '';
  at('verdict').textContent = verdict;
  at('verdict').className = verdict;
  at('about').textContent = info
    ? [info.class, info.score === null ? '' : info.score.toFixed(2), info.text].filter(Boolean).join(' · ')
    : '';
  at('tools').replaceChildren(...Object.entries(TOOLS).map(([key, name]) => {
    const tool = document.createElement('span');
    tool.textContent = `${key} ${name}`;
    tool.className = key === state.tool ? 'chosen' : '';
    return tool;
  }));
  const time = info ? (info.frames[state.frame] - drawing.onset_ns) / 1e6 : 0;
  at('frame').textContent = info
    ? `object ${state.object + 1} · frame ${state.frame + 1} of ${info.frames.length}, `
      + `${time >= 0 ? '+' : ''}${time.toFixed(0)} ms from the onset` : '';
}

// ---- mouse -------------------------------------------------------------------------------------

function place(event) { // in pixels of the frame
  const { scale, x, y } = state.view;
  const edge = picture.getBoundingClientRect();
  return [(event.clientX - edge.left - x) / scale, (event.clientY - edge.top - y) / scale];
}

/** The chosen object of a drawing, made where it is not there yet. */
function chosen(drawing) {
  state.object = Math.min(state.object, drawing.objects.length);
  if (state.object === drawing.objects.length) {
    drawing.objects.push({ box: null, include: [], exclude: [], strokes: [] });
  }
  return drawing.objects[state.object];
}

function inside([x, y]) {
  const { width, height } = state.info;
  return [Math.max(0, Math.min(x, width)), Math.max(0, Math.min(y, height))];
}

picture.addEventListener('pointerdown', (event) => {
  if (!state.drawing || event.button !== 0) return;
  picture.setPointerCapture(event.pointerId);
  const point = place(event), preview = JSON.parse(JSON.stringify(state.drawing));
  const object = chosen(preview);
  state.gesture = { preview, object };
  if (state.tool === 'b') {
    let anchor = inside(point);
    if (object.box) { // a corner that is taken: the opposite one stays
      const [x0, y0, x1, y1] = object.box;
      for (const [x, y, ax, ay] of [[x0, y0, x1, y1], [x1, y0, x0, y1], [x0, y1, x1, y0], [x1, y1, x0, y0]]) {
        if (Math.hypot(point[0] - x, point[1] - y) * state.view.scale < CORNER) anchor = [ax, ay];
      }
    }
    state.gesture.anchor = anchor;
  } else if ('ie'.includes(state.tool)) {
    object[TOOLS[state.tool]].push(inside(point));
  } else {
    state.gesture.stroke = { add: state.tool === 'p', radius: state.radius, points: [point] };
    object.strokes.push(state.gesture.stroke);
  }
  draw();
});

picture.addEventListener('pointermove', (event) => {
  if (!state.drawing) return;
  state.pointer = place(event);
  const gesture = state.gesture;
  if (gesture && gesture.anchor) {
    const [[ax, ay], [x, y]] = [gesture.anchor, inside(state.pointer)];
    gesture.object.box = [Math.min(ax, x), Math.min(ay, y), Math.max(ax, x), Math.max(ay, y)];
    gesture.moved = true;
  } else if (gesture && gesture.stroke) {
    gesture.stroke.points.push(state.pointer);
  }
  draw();
});

picture.addEventListener('pointerup', () => {
  const gesture = state.gesture;
  state.gesture = null;
  if (!gesture) return;
  const box = gesture.object.box;
  const drawn = !gesture.anchor || (gesture.moved && box[2] - box[0] >= 2 && box[3] - box[1] >= 2);
  if (drawn) change((drawing) => { drawing.objects = gesture.preview.objects; });
  draw();
});

picture.addEventListener('pointercancel', () => { state.gesture = null; draw(); });

picture.addEventListener('wheel', (event) => {
  event.preventDefault();
  if (!state.info) return;
  const { view } = state, [x, y] = place(event);
  const scale = Math.max(0.05, Math.min(view.scale * Math.exp(-event.deltaY / 400), 40));
  state.view = { scale, x: view.x + x * (view.scale - scale), y: view.y + y * (view.scale - scale) };
  draw();
}, { passive: false });

timeline.addEventListener('pointerdown', (event) => {
  if (!state.info) return;
  const share = event.offsetX / timeline.clientWidth;
  choose(nearest(state.info.start_ns + share * (state.info.stop_ns - state.info.start_ns)));
});

// ---- keys --------------------------------------------------------------------------------------

/** Move the box of the chosen object, or its lower right corner; where there is none, make one. */
function moveBox(dx, dy, corner) {
  const { width, height } = state.info;
  change((drawing) => {
    const object = chosen(drawing);
    if (!object.box) {
      object.box = [width / 4, height / 4, (3 * width) / 4, (3 * height) / 4];
      return;
    }
    const [x0, y0, x1, y1] = object.box;
    const [mx, my] = corner ? [0, 0] : [dx, dy];
    const far = [Math.max(x1 + dx, x0 + mx + 2), Math.max(y1 + dy, y0 + my + 2)];
    object.box = [x0 + mx, y0 + my, ...far];
  });
}

function undo() {
  const before = state.undo.pop();
  if (before === undefined) return;
  state.drawing = JSON.parse(before);
  state.object = Math.min(state.object, Math.max(state.drawing.objects.length - 1, 0));
  changed();
  show(nearest(state.drawing.frame_ns));
}

function remove() {
  if (state.object >= state.drawing.objects.length) return;
  change((drawing) => { drawing.objects.splice(state.object, 1); });
  state.object = 0;
}

const KEYS = [ // keys, what they do in words, what they do; most need a candidate
  [['ArrowLeft'], 'frame before; with Shift ten', (e) => choose(state.frame - (e.shiftKey ? 10 : 1))],
  [['ArrowRight'], 'next frame; with Shift ten', (e) => choose(state.frame + (e.shiftKey ? 10 : 1))],
  [['Home'], 'frame of the onset', () => choose(nearest(state.drawing.onset_ns))],
  [['o'], 'the collision is in this frame', () => change((d) => { d.onset_ns = d.frame_ns; })],
  [[' '], 'play the sound', play],
  [['1', '2'], 'which object is drawn', (e) => { state.object = Math.min(e.key - 1, state.drawing.objects.length); draw(); }],
  [['b'], 'draw its box, or drag a corner', tool], [['i'], 'points on it', tool],
  [['e'], 'points that are not on it', tool], [['p'], 'paint with the brush', tool],
  [['r'], 'rub out with the brush', tool],
  [['+', '-'], 'larger or smaller brush', (e) => { state.radius = Math.max(1, Math.min(state.radius * (e.key === '+' ? 1.25 : 0.8), 400)); draw(); }],
  [['h', 'j', 'k', 'l'], 'make a box, or move it', (e) => moveBox(...STEPS[e.key], false)],
  [['H', 'J', 'K', 'L'], 'move its lower right corner', (e) => moveBox(...STEPS[e.key.toLowerCase()], true)],
  [['x', 'Delete'], 'remove the object', remove], [['u'], 'undo', undo],
  [['m'], 'hide or show the masks', () => { state.shown = !state.shown; draw(); }],
  [['f'], 'fit the frame into the window (the wheel zooms)', fit],
  [['Enter'], 'done: into the manifest, and on', () => finish('done')],
  [['s'], 'skip: of no use, and on', () => finish('skipped')],
  [['PageUp'], 'candidate before', () => open(state.index - 1), true],
  [['PageDown'], 'next candidate', () => open(state.index + 1), true],
  [['?'], 'these keys', () => at('keys').showModal(), true],
];
const STEPS = { h: [-2, 0], l: [2, 0], k: [0, -2], j: [0, 2] };

function tool(event) {
  state.tool = event.key;
  draw();
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at('keys').open) return;
  const found = KEYS.find(([keys]) => keys.includes(event.key));
  if (!found || (!found[3] && (state.busy || !state.drawing))) return;
  event.preventDefault();
  state.gesture = null;
  Promise.resolve(found[2](event)).catch((error) => tell(error.message, true));
});

at('help').addEventListener('click', () => at('keys').showModal());
window.addEventListener('resize', () => (state.info ? fit() : draw()));
window.addEventListener('beforeunload', (event) => {
  if (state.dirty || state.saving) event.preventDefault();
});

// ---- begin -------------------------------------------------------------------------------------

async function begin() {
  for (const [keys, words] of KEYS) {
    const row = at('keys').querySelector('table').insertRow();
    row.insertCell().textContent = keys.map((key) => (key === ' ' ? 'Space' : key)).join(' ');
    row.insertCell().textContent = words;
  }
  const facts = await (await api('items')).json();
  state.items = facts.items;
  at('masker').textContent = `masks by ${facts.masker}`;
  const first = state.items.findIndex((item) => item.verdict === 'open' && item.there);
  picture.focus();
  await open(Math.max(first, 0));
}

begin().catch((error) => tell(error.message, true));
