"use strict";
// Takes over what is new without loading the page again: what did not change stays as it is, with its scroll
// position, its zoom, its sort order, and what a person opened.

const EVERY_MS = 2000;
const bar = document.getElementById("live");
let seen = bar.dataset.version;

function keyOf(node) {
  return node.id || "";
}

function isLike(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName;
}

// Attributes that a person or this script set, and the server does not know of.
function isOurs(element, name) {
  return (element.nodeName === "DETAILS" && name === "open") || name === "aria-sort";
}

function takeAttributes(old, fresh) {
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !isOurs(old, name)) old.removeAttribute(name);
  for (const { name, value } of [...fresh.attributes])
    if (old.getAttribute(name) !== value && !isOurs(old, name)) old.setAttribute(name, value);
}

function take(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.hasAttribute("data-chart")) return; // drawn by plotly, below
  takeAttributes(old, fresh);
  takeChildren(old, fresh);
}

function takeChildren(old, fresh) {
  const keyed = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    let match = key ? keyed.get(key) : null;
    if (!key && place && !keyOf(place) && isLike(place, child)) match = place;
    if (!match) {
      old.insertBefore(child, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    take(match, child);
  }
  while (place) {
    const next = place.nextSibling;
    if (place.nodeType === Node.ELEMENT_NODE) place.querySelectorAll("[data-chart]").forEach(Plotly.purge);
    place.remove();
    place = next;
  }
}

function takeOver(state) {
  const fresh = document.createElement("template");
  fresh.innerHTML = `<main>${state.body}</main>`;
  takeChildren(document.querySelector("main"), fresh.content.firstChild);
  document.title = state.title;
  const before = figures;
  figures = state.figures;
  for (const place of document.querySelectorAll("[data-chart]")) {
    const name = place.dataset.chart;
    const isSame = JSON.stringify(before[name]) === JSON.stringify(figures[name]);
    if (!isSame || !place.classList.contains("js-plotly-plot")) draw(place);
  }
  document.querySelectorAll("th[aria-sort]").forEach((head) => sort(head, head.getAttribute("aria-sort") === "ascending"));
  seen = state.version;
}

// The clock stands apart from the status, which a screen reader reads out whenever it changes.
function say(kind, text, clock) {
  const [status, time] = bar.children;
  bar.dataset.kind = kind;
  if (status.textContent !== text) status.textContent = text;
  time.textContent = clock;
}

async function ask() {
  let state = null;
  try {
    const answer = await fetch(`state.json?seen=${seen}`);
    state = answer.ok ? await answer.json() : null;
  } catch {
    state = null; // nobody answers: said in the bar
  }
  if (state === null) {
    say("lost", "no longer updated: manta report --watch was stopped", "");
  } else {
    if (state.body !== undefined) takeOver(state);
    say(state.kind, state.status, new Date(state.looked_at * 1000).toLocaleTimeString());
  }
  setTimeout(ask, EVERY_MS);
}
ask();
