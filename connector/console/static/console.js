// Keeps an open page up to date, and lets "/" go to the search. Pages work without it.
"use strict";

const head = document.getElementById("head");
let stream = null;

// Changes `old` until it is like `made`. What stays the same is not touched, so focus and selection stay, too.
function morph(old, made) {
  if (old.nodeType !== made.nodeType || old.nodeName !== made.nodeName) {
    old.replaceWith(made);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== made.nodeValue) old.nodeValue = made.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!made.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of made.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morphChildren(old, made);
}

function morphChildren(old, made) {
  const now = [...old.childNodes];
  const then = [...made.childNodes];
  then.forEach((node, at) => (now[at] ? morph(now[at], node) : old.append(node)));
  now.slice(then.length).forEach((node) => node.remove());
}

function show(parts) {
  for (const [id, html] of Object.entries(parts)) {
    const place = document.getElementById(id);
    if (!place) continue;
    const made = document.createElement("template");
    made.innerHTML = html; // the server has escaped what is not its own
    morphChildren(place, made.content);
  }
}

function say(text) {
  head.textContent = text;
}

function open() {
  stream = new EventSource("/live?page=" + encodeURIComponent(document.body.dataset.live));
  stream.onmessage = (event) => show(JSON.parse(event.data));
  stream.onerror = () => {
    const ended = stream.readyState === EventSource.CLOSED;
    say(ended ? "no live figures: load the page again" : "the console does not answer; trying again …");
  };
}

function close() {
  stream.close();
  stream = null;
}

// A page that nobody sees asks for nothing. Browsers keep only six connections to a server open for all their pages.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && stream) close();
  if (!document.hidden && !stream) open();
});
window.addEventListener("pagehide", () => stream && close());
window.addEventListener("pageshow", (event) => event.persisted && !stream && open());

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  document.getElementById("search").focus();
});

if (head && !document.hidden) open();
