// SPDX-License-Identifier: GPL-3.0-or-later
// Filter, sort and details. Texts of hosts become text nodes only, never markup.
"use strict";
document.documentElement.classList.add("js"); // before the rows come, so that those beyond the limit cost no layout
document.addEventListener("DOMContentLoaded", () => {
  const root = document.documentElement;
  const LIMIT = 250;
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const hosts = JSON.parse(find("#data").textContent);
  const body = find("main > section > table > tbody");
  const names = { poetry: "Poetry", gcloud: "gcloud", gar_auth: "gar-auth" };
  const icons = { fine: "✓", stale: "!", failed: "✕" };
  const good = new Set(["fresh", "on demand", "valid"]);
  const mild = new Set(["stale", "missing", "expired"]);

  // Rows, in the order of the data: what is searched in, and what is shown below each.
  const rows = hosts.length ? all("tr", body).map((row, index) => ({ row, host: hosts[index], more: null })) : [];
  const text = (host) => [
    host.name, host.state, host.system, host.provider, `Python ${host.python}`,
    ...(host.python ? Object.keys(names).map((key) => `${names[key]} ${host.versions[key] ?? "not installed"}`) : []),
    ...host.tokens.flatMap((token) => [token.identity, token.account, token.state]),
    ...Object.entries(host.users).flatMap(([user, states]) => [user, ...Object.keys(states), ...Object.values(states)]),
    ...host.causes.flatMap((cause) => Object.values(cause)), ...host.hints,
  ].join("\n").toLowerCase();

  // Filter
  let state = "";
  let limit = LIMIT;
  const search = find("#search");
  const further = find("#further");
  function filter() {
    const words = search.value.toLowerCase().trim();
    let fitting = 0;
    for (const one of rows) {
      if (words) one.text ??= text(one.host);
      const fits = (!state || one.host.state === state) && (!words || one.text.includes(words));
      for (const part of one.more ? [one.row, one.more] : [one.row]) {
        part.hidden = !fits;
        part.classList.toggle("rest", fitting >= limit);
      }
      fitting += fits;
    }
    find("#shown").textContent = fitting === rows.length ? `${fitting} in all` : `${fitting} of ${rows.length} fit`;
    find("#nothing").hidden = fitting > 0 || rows.length === 0;
    further.hidden = fitting <= limit;
    further.textContent = `Show the other ${fitting - limit}`;
  }
  further.addEventListener("click", () => { limit = Infinity; filter(); });
  function choose(wanted) {
    state = wanted;
    limit = LIMIT;
    for (const card of all(".card")) card.setAttribute("aria-pressed", String(card.dataset.state === state));
    filter();
  }
  for (const card of all(".card")) {
    card.addEventListener("click", () => choose(card.dataset.state === state ? "" : card.dataset.state));
  }
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, rows.length > 1000 ? 120 : 0);
  });
  for (const button of all("[data-search]")) {
    button.addEventListener("click", () => { search.value = button.dataset.search; filter(); });
  }
  find("#reset").addEventListener("click", () => { search.value = ""; choose(""); search.focus(); });

  // Sort: by the cell's value where it has one, else by its text, numbers in it as numbers.
  const compare = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;
  const heads = all("main > section > table > thead th");
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    for (const one of rows) {
      const cell = one.row.cells[column];
      one.key = "v" in cell.dataset ? Number(cell.dataset.v) : (column === 1 ? one.host.name : cell.textContent.trim());
    }
    const sign = descending ? -1 : 1;
    rows.sort((a, b) => sign * (typeof a.key === "number" ? a.key - b.key : compare(a.key, b.key)) || compare(a.host.name, b.host.name));
    body.append(...rows.flatMap((one) => (one.more ? [one.row, one.more] : [one.row])));
    filter();
  }));

  // Details
  function make(tag, words, ...classes) {
    const made = document.createElement(tag);
    if (words !== undefined) made.textContent = words;
    made.classList.add(...classes);
    return made;
  }
  const pill = (word) => make("span", word, "pill", good.has(word) ? "fine" : mild.has(word) ? "stale" : word === "awaits login" ? "neutral" : "failed");
  const span = (seconds) => (seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`);
  function table(title, head, lines) {
    const place = make("div");
    const made = make("table");
    const top = head.length ? made.createTHead().insertRow() : null;
    for (const words of head) { const cell = make("th", words); cell.scope = "col"; top.append(cell); }
    const within = made.createTBody();
    for (const line of lines) {
      const row = within.insertRow();
      for (const one of line) row.insertCell().append(one);
    }
    place.append(make("h3", title), made);
    return place;
  }
  async function copy(button, words) {
    try {
      await navigator.clipboard.writeText(words);
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
  function explain(cause) {
    const place = make("div", undefined, "cause");
    const found = make("p");
    found.append(make("b", cause.found));
    const cure = make("div", undefined, "cure");
    const button = make("button", "Copy");
    button.type = "button";
    button.addEventListener("click", () => copy(button, cause.cure));
    cure.append(make("code", cause.cure), button);
    place.append(found, make("p", `${cause.check}: ${cause.cause}`, "quiet"), cure);
    return place;
  }
  function describe(host) {
    const made = make("tr", undefined, "more", host.state);
    const cell = made.insertCell();
    cell.colSpan = heads.length;
    cell.classList.add("details");
    if (host.causes.length) cell.append(make("h3", host.causes.length === 1 ? "Cause and cure" : "Causes and cures"), ...host.causes.map(explain));
    if (host.hints.length) cell.append(make("h3", "Hints"), ...host.hints.map((hint) => make("p", hint)));
    const parts = make("div", undefined, "parts");
    const users = Object.entries(host.users);
    if (users.length) {
      const columns = [...new Set(users.flatMap(([, states]) => Object.keys(states).filter((name) => name !== "error")))];
      parts.append(table("Users and repositories", ["User", ...columns], users.map(([user, states]) => [
        user, ...columns.map((name) => pill("error" in states ? "unusable" : states[name] ?? "–")),
      ])));
    }
    if (host.tokens.length) {
      parts.append(table("Tokens", ["Identity", "User", "Account", "State", "Left", "Expires"], host.tokens.map((token) => [
        token.identity, token.user ?? "all", token.account ?? "–", pill(token.state),
        token.state === "valid" && token.seconds_left !== null ? span(token.seconds_left) : "–",
        token.expires_at ? token.expires_at.replace("T", " ").replace("Z", " UTC") : "–",
      ])));
    }
    parts.append(table("Host", [], [
      ["System", host.system ?? "–"], ["Python", host.python ?? "–"], ["Provider", host.provider ?? "–"],
      ...Object.keys(names).map((key) => [names[key], host.versions[key] ?? "–"]),
    ]));
    cell.append(parts);
    return made;
  }
  body.addEventListener("click", (event) => {
    const button = event.target.closest("th button");
    const one = button && rows.find(({ row }) => row === button.closest("tr"));
    if (!one) return;
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    if (open) one.row.after(one.more = describe(one.host));
    else { one.more.remove(); one.more = null; }
  });

  // Colours: the system's, until somebody chooses.
  const theme = find("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  function label() {
    theme.textContent = isDark() ? "☀ Light" : "☾ Dark";
  }
  try { const kept = localStorage.getItem("artifact-registry-theme"); if (kept === "dark" || kept === "light") root.dataset.theme = kept; } catch { /* not allowed here */ }
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("artifact-registry-theme", root.dataset.theme); } catch { /* not allowed here */ }
    label();
  });
  system.addEventListener("change", label);
  label();

  // How old the report is
  const minutes = Math.floor((Date.now() - Date.parse(find("time").dateTime)) / 60000);
  if (minutes >= 0) {
    const [size, unit] = minutes < 60 ? [1, "minute"] : minutes < 2880 ? [60, "hour"] : [1440, "day"];
    find("#age").textContent = ` (${new Intl.RelativeTimeFormat("en").format(-Math.floor(minutes / size), unit)})`;
  }
  filter();
});
