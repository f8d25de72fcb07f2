// The page of `medmamba serve`: images in, answers out, nothing kept.
//
// Chosen images are entries, in the order they came: {file, state, answer, problem}, and what shows them, {card, row,
// shown, urls}. The state is `waiting`, `asked`, `answered` or `failed`. Files are sent a few at a time; a card, a row
// of the table and the line above them are drawn from the states. All text comes into the page as text, never as HTML.
// Nothing is stored: no cookie, no local storage.

const FILES_AT_ONCE = 4; // in one request, so that answers come little by little
const BYTES_AT_ONCE = 8e6; // the same; a larger file goes alone
const PATIENCE = 90; // seconds that a request waits for a service that is busy, or not ready yet
const CLASSES_SHOWN = 5; // in a card, before those that have to be asked for
const OPACITY = 60; // of a heat map at first, percent
const NO_BREAK = "\u00a0";
const BETWEEN = " \u00b7 "; // names of classes, which may hold commas

const entries = [];
let model = null; // what GET /v1/model says
let modelAsked = null; // over when it has said so, or failed
let token = null; // in memory only
let working = false;
let pictures = Promise.resolve(); // pictures are asked for one after the other, behind the answers

const find = (selector, within = document) => within.querySelector(selector);


// ---- Text

/** A probability as people read it: never a rounded 0 or 100. */
export function percent(share) {
  if (share > 0 && share < 0.001) return `<${NO_BREAK}0.1${NO_BREAK}%`;
  if (share < 1 && share > 0.999) return `>${NO_BREAK}99.9${NO_BREAK}%`;
  return `${(100 * share).toFixed(1)}${NO_BREAK}%`;
}

/** `1 image`, `2 images`. */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Begins with a capital and ends with a full stop. */
export function sentence(words) {
  const text = words.trim();
  return text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** What is said of a file, where its name stands already. */
export function withoutName(words, name) {
  return words.startsWith(`${name} `) ? `It${words.slice(name.length)}` : words;
}

/** One cell of a CSV file, which no spreadsheet takes for a formula (OWASP, "CSV Injection"); numbers stay numbers. */
export function csvCell(value) {
  let text = String(value ?? "");
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
  if (/^[=+\-@\t\r]/.test(text) && !number) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** What `medmamba predict` writes, for rows {name, answer, problem} and what the model makes. */
export function csv(rows, { classes, sets, scope }) {
  const refers = sets || scope;
  const head = ["file", "label", ...classes, "error", ...(sets ? ["possible"] : []), ...(refers ? ["refer"] : [])];
  const lines = rows.map(({ name, answer, problem }) => [
    name,
    answer?.label,
    ...classes.map((each) => answer?.probabilities[each].toFixed(6)),
    problem,
    ...(sets ? [answer?.prediction_set.join("|")] : []),
    ...(refers ? [answer?.refer] : []),
  ]);
  return [head, ...lines].map((line) => line.map(csvCell).join(",") + "\r\n").join("");
}


// ---- The service

/** What went wrong, as a sentence for people. */
class Problem extends Error {
  constructor(message, { status = 0, mayPass = false } = {}) {
    super(sentence(message));
    this.status = status;
    this.mayPass = mayPass; // worth another try
  }
}

/** The reply to a request; it waits while the service is busy, and asks for a token where one is missing. */
async function ask(path, options = {}) {
  for (const until = Date.now() + 1000 * PATIENCE; ; ) {
    const sent = token;
    let reply;
    try {
      reply = await fetch(path, { ...options, headers: sent ? { Authorization: `Bearer ${sent}` } : {} });
    } catch {
      throw new Problem("The service does not answer; see whether it still runs", { mayPass: true });
    }
    if (reply.status === 401) {
      if (sent === token) await askForToken(sent !== null); // else it was given while this request was away
    } else if (![429, 503].includes(reply.status) || Date.now() > until) {
      return reply;
    } else {
      await pause(Number(reply.headers.get("Retry-After")) || 1);
    }
  }
}

function pause(seconds) {
  return new Promise((done) => setTimeout(done, 1000 * Math.min(seconds, 30)));
}

/** The problem that a reply without an answer tells. */
async function problemOf(reply) {
  const told = await reply.json().catch(() => null);
  const message = told?.error?.message ?? `The service answers with the number ${reply.status}`;
  return new Problem(message, { status: reply.status, mayPass: reply.status === 429 || reply.status >= 500 });
}

async function askForPicture(path, file) {
  const reply = await ask(path, { method: "POST", body: formOf([file]) });
  if (!reply.ok) throw await problemOf(reply);
  return URL.createObjectURL(await reply.blob());
}

function formOf(files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  return form;
}

let tokenAsked = null; // one dialogue, however many requests wait for it

function askForToken(wrong) {
  tokenAsked ??= new Promise((given, cancelled) => {
    const dialog = find("#token");
    const text = find("#token-text");
    find("#token-why").textContent = wrong
      ? "That was not the token of this service. Whoever runs it can give it to you."
      : "This service asks for a token. Whoever runs it can give it to you.";
    text.value = "";
    find("form", dialog).onsubmit = (event) => {
      event.preventDefault();
      token = text.value.trim();
      dialog.close("given");
    };
    find("#token-cancel").onclick = () => dialog.close("");
    dialog.onclose = () => {
      tokenAsked = null;
      text.value = "";
      if (dialog.returnValue === "given") given();
      else cancelled(new Problem("The service asks for a token, and none was given", { status: 401, mayPass: true }));
    };
    dialog.returnValue = "";
    dialog.showModal();
  });
  return tokenAsked;
}


// ---- The model

async function loadModel() {
  find("#model-again").hidden = true;
  try {
    const reply = await ask("v1/model");
    if (!reply.ok) throw await problemOf(reply);
    model = await reply.json();
  } catch (problem) {
    find("#summary").textContent = problem.message;
    find("#model-again").hidden = false;
    return;
  }
  find("#title").textContent = model.name;
  document.title = `${model.name}, medmamba`;
  const what = `${severalLabels() ? "Looks for" : "Tells apart"}: ${model.classes.join(BETWEEN)}`;
  find("#summary").textContent = model.purpose ? `${what}. For: ${model.purpose}.` : what;
  find("#model-card").replaceChildren(...markdown(model.card));
  find("#model").hidden = false;
}

/** The few forms of Markdown that a model card has: headings, paragraphs, lists, tables. Returns elements. */
function markdown(text) {
  const blocks = text.trim().split(/\n\s*\n/).filter((block) => block !== find("footer p").textContent); // said once
  return blocks.map((block) => {
    const lines = block.split("\n");
    const heading = /^(#+) (.*)/.exec(lines[0]);
    if (heading) return element(`h${Math.min(6, heading[1].length + 1)}`, spans(heading[2]));
    if (lines[0].startsWith("|")) return element("div", [tableOf(lines)], "scroll");
    if (/^[-*] /.test(lines[0])) {
      const items = block.split(/\n(?=[-*] )/);
      return element("ul", items.map((item) => element("li", spans(item.slice(2)))));
    }
    return element("p", spans(block));
  });
}

function tableOf(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
  const head = cells(lines[0]);
  const headless = head.every((cell) => !cell);
  const row = (line) => element("tr", cells(line).map((cell, k) => element(headless && !k ? "th" : "td", spans(cell))));
  const body = element("tbody", lines.slice(2).map(row));
  const top = element("thead", [element("tr", head.map((cell) => element("th", spans(cell))))]);
  return element("table", headless ? [body] : [top, body], headless ? "named" : "");
}

/** **Bold**, `code`, links as their words, and escaped signs as signs. */
function spans(text) {
  const parts = text.split(/(\*\*.+?\*\*|`[^`]+`|\[[^\]]+\]\([^)]+\))/);
  const plain = (words) => words.replace(/\\([\\|<>[\]`*_])/g, "$1");
  return parts.filter(Boolean).map((part) => {
    if (/^\*\*.+\*\*$/.test(part)) return element("strong", [plain(part.slice(2, -2))]);
    if (/^`.+`$/.test(part)) return element("code", [part.slice(1, -1)]);
    return plain(part.replace(/^\[([^\]]+)\]\(([^)]+)\)$/, "$1 ($2)"));
  });
}

function element(name, children = [], className = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}


// ---- Images come in

let pasted = 0;

function add(files) {
  for (const file of files) {
    const entry = { file, state: "waiting", answer: null, problem: null, urls: new Set() };
    entry.card = makeCard(entry);
    entry.row = makeRow(entry);
    entry.shown = showFile(entry);
    entries.push(entry);
    find("#cards").append(entry.card);
    find("#table tbody").append(entry.row);
  }
  draw();
  work();
}

/** The files of a drop, also those in dropped folders. */
async function dropped(transfer) {
  const held = [...transfer.items].filter((item) => item.kind === "file");
  const found = held.map((item) => [item.getAsFile(), item.webkitGetAsEntry?.()]); // before any await: later it is gone
  const files = await Promise.all(found.map(([file, entry]) => (entry?.isDirectory ? filesBelow(entry) : [file])));
  return files.flat().filter(Boolean);
}

async function filesBelow(folder) {
  const reader = folder.createReader();
  const within = [];
  for (let some; (some = await new Promise((...ends) => reader.readEntries(...ends))).length; ) within.push(...some);
  const seen = within.filter((entry) => !entry.name.startsWith("."));
  seen.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
  const files = seen.map((entry) =>
    entry.isDirectory ? filesBelow(entry) : new Promise((...ends) => entry.file(...ends)).then((file) => [file]),
  );
  return (await Promise.all(files)).flat();
}

/** What browsers call every pasted picture gets a name of its own. */
function named(file) {
  return file.name === "image.png" ? new File([file], `pasted-${++pasted}.png`, { type: file.type }) : file;
}

function remove(entry) {
  entries.splice(entries.indexOf(entry), 1);
  const next = entry.card.nextElementSibling ?? entry.card.previousElementSibling;
  entry.card.remove();
  entry.row.remove();
  for (const url of entry.urls) URL.revokeObjectURL(url);
  draw();
  (next ? find(".remove", next) : find("#files")).focus();
}

function removeAll() {
  for (const entry of entries) for (const url of entry.urls) URL.revokeObjectURL(url);
  entries.length = 0;
  find("#cards").replaceChildren();
  find("#table tbody").replaceChildren();
  draw();
  find("#files").focus();
}


// ---- Answers

/** Send what waits, a few files at a time, until nothing waits. */
async function work() {
  if (working) return;
  working = true;
  await modelAsked;
  for (let group; (group = nextGroup()).length; ) await answer(group);
  working = false;
}

function nextGroup() {
  const group = [];
  let bytes = 0;
  for (const entry of entries.filter((each) => each.state === "waiting")) {
    bytes += entry.file.size;
    if (group.length && (group.length === FILES_AT_ONCE || bytes > BYTES_AT_ONCE)) break;
    group.push(entry);
  }
  return group;
}

async function answer(group) {
  for (const entry of group) entry.state = "asked";
  group.forEach(drawEntry);
  try {
    const reply = await ask("v1/predict", { method: "POST", body: formOf(group.map((entry) => entry.file)) });
    const told = await reply.clone().json().catch(() => null);
    if (told?.images?.length !== group.length) throw await problemOf(reply);
    told.images.forEach((image, k) => settle(group[k], image, told.seconds, group.length));
  } catch (problem) {
    if (problem.status === 413 && group.length > 1) {
      for (const entry of group) await answer([entry]); // too large together, perhaps not alone
      return;
    }
    const all = problem.status === 401 ? [...group, ...entries.filter((entry) => entry.state === "waiting")] : group;
    for (const entry of all) fail(entry, problem);
  }
  draw();
}

function settle(entry, image, seconds, together) {
  if (image.error) return fail(entry, new Problem(withoutName(image.error, image.name)));
  entry.state = "answered";
  entry.answer = { ...image, seconds, together };
  pictures = pictures.then(() => showAsRead(entry));
  return drawEntry(entry);
}

function fail(entry, problem) {
  if (!(problem instanceof Problem)) console.error(problem);
  entry.state = "failed";
  entry.problem = problem instanceof Problem ? problem : new Problem("Something in this page went wrong");
  drawEntry(entry);
}

function tryAgain(entry) {
  Object.assign(entry, { state: "waiting", problem: null });
  drawEntry(entry);
  draw();
  work();
}


// ---- A card

let made = 0;

function makeCard(entry) {
  const card = find("#card").content.firstElementChild.cloneNode(true);
  card.id = `image-${++made}`;
  card.ariaLabel = entry.file.name;
  find(".name", card).textContent = entry.file.name;
  const button = find(".remove", card);
  button.ariaLabel = `Remove ${entry.file.name}`;
  button.onclick = () => remove(entry);
  find(".again", card).onclick = () => tryAgain(entry);
  return card;
}

function drawEntry(entry) {
  drawCard(entry);
  drawRow(entry);
}

function drawCard(entry) {
  const { card, state, answer: found } = entry;
  card.dataset.state = state;
  find(".waiting", card).hidden = state !== "waiting" && state !== "asked";
  find(".waiting", card).textContent = state === "asked" ? "Being looked at" : "Waiting";
  find(".problem", card).hidden = state !== "failed";
  find(".answered", card).hidden = state !== "answered";
  if (state === "failed") drawProblem(entry);
  if (state === "answered") drawAnswer(card, found);
  if (state === "answered") prepareMap(entry);
  find(".map", card).hidden = state !== "answered" || model?.explains === false;
}

function drawProblem({ card, problem }) {
  find(".problem strong", card).textContent = problem.mayPass ? "No answer." : "Not read.";
  find(".problem span", card).textContent = problem.message;
  find(".again", card).hidden = !problem.mayPass;
  find(".no-picture", card).textContent = "No picture";
  find(".no-picture", card).hidden = !find(".shown", card).hidden;
}

function drawAnswer(card, found) {
  find(".refer", card).hidden = !found.refer;
  find(".refer span", card).textContent = sentence(found.refer ?? "");
  const answered = severalLabels() ? "Labels found" : "Answer";
  find(".answer .eyebrow", card).textContent = found.refer ? "Would have answered" : answered;
  find(".answer strong", card).textContent = labelsOf(found).join(BETWEEN);
  const rows = Object.entries(found.probabilities);
  if (rows.length > CLASSES_SHOWN) rows.sort((one, other) => other[1] - one[1]); // few stand alike in all cards
  const drawn = rows.map(([name, share]) => classRow(name, share, labelsOf(found).includes(name)));
  find(".classes", card).replaceChildren(...drawn.slice(0, CLASSES_SHOWN));
  find(".more", card).hidden = drawn.length <= CLASSES_SHOWN;
  find(".more summary", card).textContent = `${drawn.length - CLASSES_SHOWN} more`;
  find(".more .classes", card).replaceChildren(...drawn.slice(CLASSES_SHOWN));
  find(".set", card).hidden = !found.prediction_set;
  const held = (found.prediction_set ?? []).map((name) => element("span", [name], "chip"));
  find(".set .held", card).replaceChildren(...(held.length ? held : ["empty: no class fits"]));
  const others = found.together > 1 ? `, ${found.together} images together` : "";
  const size = found.width ? `${found.width} × ${found.height} pixels, ` : "";
  find(".facts", card).textContent = `${size}answered in ${found.seconds.toFixed(2)} s${others}`;
}

function severalLabels() {
  return model?.task === "multilabel";
}

/** The one class, or all labels found. */
function labelsOf(found) {
  return severalLabels() ? found.label.split("|").map((label) => label || "none") : [found.label];
}

function classRow(name, share, chosen) {
  const words = element("span", [name], "class");
  const track = element("span", [element("span", [], "fill")], "track");
  track.firstChild.style.width = `${100 * share}%`;
  const threshold = thresholdOf(name);
  if (threshold !== undefined) {
    words.append(" ", element("span", [`threshold ${percent(threshold)}`], "soft"));
    track.append(element("span", [], "tick"));
    track.lastChild.style.left = `${100 * threshold}%`;
  }
  return element("li", [words, element("span", [percent(share)], "share"), track], chosen ? "chosen" : "");
}

/** From which probability on a class is answered; undefined where that is simply a half, or another rule. */
function thresholdOf(name) {
  const { threshold, positive, classes } = model ?? {};
  if (Array.isArray(threshold)) return threshold[classes.indexOf(name)];
  return threshold === null || threshold === 0.5 || (positive && name !== positive) ? undefined : threshold;
}


// ---- Pictures

/** What the browser can draw as the model reads it: JPEG, and PNG of at most 8 bits. It is known by its first bytes. */
async function drawnByBrowser(file) {
  const bytes = new Uint8Array(await file.slice(0, 25).arrayBuffer());
  const startsWith = (...start) => start.every((byte, k) => bytes[k] === byte);
  return startsWith(0xff, 0xd8, 0xff) || (startsWith(0x89, 0x50, 0x4e, 0x47) && bytes[24] <= 8);
}

async function showFile(entry) {
  if (!(await drawnByBrowser(entry.file).catch(() => false))) return;
  const url = URL.createObjectURL(entry.file);
  entry.urls.add(url);
  await show(entry, url).catch(() => {}); // a damaged file: the answer says so
}

/** Ask the service for the picture where the browser has none, or one of another size than the model read. */
async function showAsRead(entry) {
  await entry.shown;
  const shown = find(".shown", entry.card);
  const { width, height } = entry.answer;
  const same = shown.naturalWidth === width && shown.naturalHeight === height;
  if (!entries.includes(entry) || (!shown.hidden && (same || !width))) return;
  try {
    const url = await askForPicture("v1/picture", entry.file);
    entry.urls.add(url);
    await show(entry, url);
  } catch {
    find(".no-picture", entry.card).textContent = "The picture cannot be shown";
    find(".no-picture", entry.card).hidden = !shown.hidden;
  }
}

async function show(entry, url) {
  const shown = find(".shown", entry.card);
  shown.src = url;
  await shown.decode();
  shown.alt = `Picture of ${entry.file.name}`;
  shown.classList.toggle("tiny", Math.max(shown.naturalWidth, shown.naturalHeight) < 100);
  shown.hidden = false;
}


// ---- Heat maps

function prepareMap(entry) {
  const { card, answer: found } = entry;
  const select = find("select", card);
  const classes = Object.keys(found.probabilities);
  select.replaceChildren(...classes.map((name) => new Option(`${name}, ${percent(found.probabilities[name])}`, name)));
  const most = classes.reduce((best, name) => (found.probabilities[name] > found.probabilities[best] ? name : best));
  select.value = classes.includes(found.label) ? found.label : most;
  const slider = find("[type=range]", card);
  slider.value = OPACITY;
  slider.oninput = () => setOpacity(card);
  setOpacity(card);
  const maps = new Map(); // class -> address of its picture
  select.onchange = () => showMap(entry, maps);
  find(".map", card).ontoggle = () => showMap(entry, maps);
}

function setOpacity(card) {
  const value = find("[type=range]", card).value;
  find(".heat", card).style.opacity = value / 100;
  find("output", card).textContent = `${value}${NO_BREAK}%`;
}

async function showMap(entry, maps) {
  const { card } = entry;
  const heat = find(".heat", card);
  const name = find("select", card).value;
  const state = find(".map-state", card);
  heat.hidden = true;
  if (!find(".map", card).open) return;
  try {
    if (!maps.has(name)) {
      state.textContent = "The heat map is being made.";
      maps.set(name, await askForPicture(`v1/explain?class=${encodeURIComponent(name)}`, entry.file));
      entry.urls.add(maps.get(name));
    }
  } catch (problem) {
    state.textContent = problem.message;
    return;
  }
  if (find("select", card).value !== name || !find(".map", card).open) return; // chosen anew in the meantime
  heat.src = maps.get(name);
  heat.alt = `Heat map of the class ${name}`;
  heat.hidden = false;
  state.textContent = `Where the network found evidence for ${name}, not where disease is.`;
}


// ---- All images together

function draw() {
  const done = entries.filter((entry) => entry.state === "answered" || entry.state === "failed");
  const progress = find("#progress");
  find("#results").hidden = entries.length === 0;
  document.body.classList.toggle("with-results", entries.length > 0);
  progress.max = Math.max(entries.length, 1);
  progress.value = done.length;
  progress.classList.toggle("over", done.length === entries.length);
  find("#download").disabled = done.length === 0;
  const soFar = `${done.length} of ${count(entries.length, "image")} done`;
  find("#state").textContent = done.length < entries.length ? soFar : inShort();
  find("#table").hidden = entries.length < 2;
  find("#table").classList.toggle("no-sets", !entries.some((entry) => entry.answer?.prediction_set));
  find("#table").classList.toggle("no-shares", severalLabels());
}

/** `5 images: 3 pneumonia · 1 to refer to a person · 1 without an answer`. */
function inShort() {
  const tally = new Map();
  const refer = "to refer to a person";
  const none = "without an answer";
  for (const { answer: found } of entries) {
    const kinds = !found ? [none] : found.refer ? [refer] : labelsOf(found);
    for (const kind of kinds) tally.set(kind, (tally.get(kind) ?? 0) + 1);
  }
  const last = [refer, none];
  const kinds = [...tally].sort((one, other) => last.indexOf(one[0]) - last.indexOf(other[0]) || other[1] - one[1]);
  const parts = kinds.map(([kind, number]) => `${number} ${kind}`);
  return `${count(entries.length, "image")}: ${parts.join(BETWEEN)}`;
}

function makeRow(entry) {
  const link = element("a", [entry.file.name]);
  link.href = `#${entry.card.id}`;
  const names = ["number", "image", "label", "share", "held", "note"];
  const row = element("tr", names.map((name) => element("td", name === "image" ? [link] : [], name)));
  find(".note", row).textContent = "waiting";
  return row;
}

function drawRow({ row, answer: found, problem }) {
  find(".label", row).replaceChildren(...answerCell(found, problem));
  find(".share", row).textContent = found && !severalLabels() ? percent(found.probabilities[found.label]) : "";
  find(".held", row).textContent = found?.prediction_set ? found.prediction_set.join(BETWEEN) || "empty" : "";
  find(".note", row).textContent = problem?.message ?? (found ? sentence(found.refer ?? "") : "waiting");
}

function answerCell(found, problem) {
  if (problem) return [element("span", [problem.mayPass ? "no answer" : "not read"], "bad")];
  if (!found) return [];
  const words = labelsOf(found).join(BETWEEN);
  if (!found.refer) return [words];
  return [element("span", ["refer to a person"], "refer"), element("span", [`would be ${words}`], "soft")];
}

function download() {
  const rows = entries
    .filter((entry) => entry.state === "answered" || entry.state === "failed")
    .map((entry) => ({ name: entry.file.name, answer: entry.answer, problem: entry.problem?.message }));
  const { classes = [], prediction_sets: sets, scope } = model ?? {};
  const text = "\ufeff" + csv(rows, { classes, sets, scope }); // the mark tells spreadsheets that it is UTF-8
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "medmamba.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}


// ---- Start

function start() {
  const input = find("#files");
  input.onchange = () => {
    add([...input.files]);
    input.value = ""; // the same file may be chosen again
  };
  document.onpaste = (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) event.preventDefault();
    add(files.map(named));
  };
  document.ondragover = (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  };
  document.ondragleave = (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  };
  document.ondrop = async (event) => {
    event.preventDefault(); // else the browser would leave the page for the picture
    document.body.classList.remove("dragging");
    add(await dropped(event.dataTransfer));
  };
  find("#download").onclick = download;
  find("#clear").onclick = removeAll;
  find("#model-again").onclick = () => (modelAsked = loadModel());
  modelAsked = loadModel();
}

if (globalThis.document) start(); // else it is a test that imports what needs no page
