// Puts what the server has drawn where it belongs. Draws nothing, decides nothing.
"use strict";

let source = null;
let waiting = null;

function listen() {
  if (source) source.close();
  const main = document.getElementById("main");
  if (!main || !main.dataset.live) return;
  source = new EventSource(main.dataset.live);
  source.onopen = () => setLost(false);
  source.onmessage = (event) => { setLost(false); apply(JSON.parse(event.data)); };
  source.addEventListener("over", () => { source.close(); check(); });
  source.onerror = () => {
    setLost(true);
    // A browser gives up for good when it is refused: the session is over, or we are.
    if (source.readyState === EventSource.CLOSED) setTimeout(check, 2000);
  };
}

async function check() {
  try {
    const answer = await fetch(location.href, { redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
    else listen();
  } catch { setTimeout(check, 2000); }
}

function setLost(isLost) { document.body.classList.toggle("lost", isLost); }

function apply(news) {
  for (const [id, html] of Object.entries(news.html || {})) {
    const element = document.getElementById(id);
    if (element) keepingFocus(element, () => { element.innerHTML = html; });
  }
  for (const [id, rows] of Object.entries(news.rows || {})) {
    const body = document.getElementById(id);
    if (body) keepingFocus(body, () => reorder(body, rows));
  }
}

// A line is known by its key; the first event brings all of them.
const lines = new WeakMap();

function reorder(body, rows) {
  let known = lines.get(body);
  if (!known) { known = new Map(); lines.set(body, known); body.replaceChildren(); }
  for (const [key, html] of Object.entries(rows.html)) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const line = holder.content.firstElementChild;
    const before = known.get(key);
    if (before) before.replaceWith(line);
    known.set(key, line);
  }
  const wanted = new Set(rows.order);
  for (const [key, line] of known) if (!wanted.has(key)) { line.remove(); known.delete(key); }
  rows.order.forEach((key, place) => {
    const line = known.get(key);
    if (line && body.children[place] !== line) body.insertBefore(line, body.children[place] || null);
  });
}

function keepingFocus(element, change) {
  const focused = document.activeElement;
  const had = focused && focused !== document.body && element.contains(focused);
  const href = had && (focused.getAttribute("href") || focused.id);
  change();
  if (!had || element.contains(document.activeElement)) return;
  for (const each of element.querySelectorAll("a, button, summary")) {
    if ((each.getAttribute("href") || each.id) === href) { each.focus({ preventScroll: true }); return; }
  }
}

// Links and forms of a page that lead to the same page with another question.
async function go(address, isBack) {
  document.body.classList.add("loading");
  try {
    const answer = await fetch(address);
    if (answer.redirected) { location.href = answer.url; return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("main");
    if (!fresh) { location.href = address; return; }
    const focused = document.activeElement;
    const id = focused && focused.id;
    const place = focused && focused.selectionStart;
    const typed = focused && focused.matches("input[type=search], input:not([type])") ? focused.value : null;
    document.getElementById("main").replaceWith(document.adoptNode(fresh));
    const again = id && document.getElementById(id);
    if (again) {
      if (typed !== null) again.value = typed;
      again.focus({ preventScroll: true });
      if (place !== undefined && place !== null && again.setSelectionRange) {
        try { again.setSelectionRange(place, place); } catch { /* not a text field */ }
      }
    }
    if (!isBack) history.pushState(null, "", address);
    listen();
  } catch { location.href = address; }
  finally { document.body.classList.remove("loading"); }
}

function addressOf(form) {
  const fields = [...new FormData(form)].filter(([, value]) => value !== "");
  const query = new URLSearchParams(fields).toString();
  return form.getAttribute("action") + (query ? "?" + query : "");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-soft]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-soft]");
  if (!form) return;
  clearTimeout(waiting);
  const isTyping = event.target.matches("input");
  waiting = setTimeout(() => go(addressOf(form)), isTyping ? 250 : 0);
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.matches("form[data-soft]")) { event.preventDefault(); go(addressOf(form)); return; }
  if (!form.matches("form[data-action]")) return;
  event.preventDefault();
  const button = event.submitter;
  const question = button && button.dataset.confirm;
  if (question && !window.confirm(question)) return;
  const fields = new FormData(form, button);
  form.classList.add("busy");
  if (button) button.disabled = true;
  try {
    const action = (button && button.getAttribute("formaction")) || form.getAttribute("action");
    const answer = await fetch(action, {
      method: "POST", body: new URLSearchParams(fields),
    });
    if (answer.redirected) { location.href = answer.url; return; }
    const result = await answer.json();
    const place = form.dataset.into && document.getElementById(form.dataset.into);
    if (place && result.html) place.innerHTML = result.html;
    if (result.words) toast(result.words, result.ok);
    if (result.go) location.href = result.go;
  } catch { toast("The dashboard does not answer. Nothing may have been done.", false); }
  finally { form.classList.remove("busy"); if (button) button.disabled = false; }
});

function toast(words, isGood) {
  const element = document.createElement("p");
  element.className = isGood ? "toast good" : "toast bad";
  element.textContent = words;
  document.getElementById("toasts").append(element);
  setTimeout(() => element.remove(), isGood ? 5000 : 12000);
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea")) return;
  if (event.key === "/" && !event.ctrlKey && !event.metaKey) {
    const search = document.getElementById("choice-search");
    if (search) { event.preventDefault(); search.focus(); }
  }
});

window.addEventListener("popstate", () => go(location.href, true));
window.addEventListener("pagehide", () => { if (source) source.close(); });
window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
listen();
