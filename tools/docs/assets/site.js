// Search over titles and headings, the light/dark switch, the menu on small screens, and copy buttons. No network.
"use strict";
const root = document.body.dataset.root;
const box = document.getElementById("search");
const results = document.getElementById("results");

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const found = [];
  for (const page of PAGES) {
    const title = page.t.toLowerCase();
    if (words.every((word) => title.includes(word))) found.push([0, page.t, "", page.p]);
    for (const [heading, anchor] of page.h) {
      const both = `${title} ${heading.toLowerCase()}`;
      if (words.every((word) => both.includes(word)) && words.some((word) => heading.toLowerCase().includes(word)))
        found.push([1, heading, page.t, `${page.p}#${anchor}`]);
    }
  }
  return found.sort((a, b) => a[0] - b[0] || a[1].length - b[1].length).slice(0, 30);
}

function show() {
  results.replaceChildren(...find(box.value).map(([, text, where, path]) => {
    const link = document.createElement("a");
    link.href = root + path;
    link.textContent = text;
    if (where) link.append(Object.assign(document.createElement("small"), { textContent: where }));
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
  results.hidden = !results.childElementCount;
}

box.addEventListener("input", show);
box.addEventListener("keydown", (event) => {
  const links = [...results.querySelectorAll("a")];
  const at = links.findIndex((link) => link.classList.contains("on"));
  if (event.key === "Escape") { box.value = ""; show(); }
  else if (event.key === "Enter") (links[at] || links[0])?.click();
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    links[at]?.classList.remove("on");
    const next = links[(at + (event.key === "ArrowDown" ? 1 : links.length - 1)) % links.length] || links[0];
    next?.classList.add("on");
    next?.scrollIntoView({ block: "nearest" });
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); box.focus(); }
});
document.addEventListener("click", (event) => {
  if (!results.contains(event.target) && event.target !== box) results.hidden = true;
});

document.getElementById("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
});
document.getElementById("menu").addEventListener("click", (event) => {
  const open = document.getElementById("nav").classList.toggle("open");
  event.currentTarget.setAttribute("aria-expanded", open);
});

for (const block of document.querySelectorAll("article pre")) {
  const button = Object.assign(document.createElement("button"), { className: "copy", textContent: "copy" });
  button.addEventListener("click", async () => {
    const code = block.querySelector("code").textContent;
    const typed = code.split("\n").filter((line) => line.startsWith("$ ")).map((line) => line.slice(2));
    await navigator.clipboard.writeText(typed.length ? typed.join("\n") : code);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
  block.append(button);
}

const marks = new Map([...document.querySelectorAll("aside a")].map((link) => [link.getAttribute("href").slice(1), link]));
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) {
    marks.forEach((link) => link.classList.remove("on"));
    marks.get(entry.target.id)?.classList.add("on");
  }
}, { rootMargin: "-10% 0px -75% 0px" });
for (const id of marks.keys()) { const heading = document.getElementById(id); if (heading) watcher.observe(heading); }
