// Keeps a page up to date, shows times in the zone of the reader, and adds keys. Without it the pages work as well.
"use strict";
(() => {
  const root = document.documentElement;
  const theme = localStorage.getItem("theme");
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  root.classList.add("scripted");

  const two = (number) => String(number).padStart(2, "0");
  const showTimes = (within) => {
    const today = new Date().toDateString();
    for (const time of within.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
      const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
      time.textContent = at.toDateString() === today ? clock : `${day} ${clock}`;
    }
  };

  const addCopyButtons = (within, texts) => {
    for (const code of within.querySelectorAll("code[data-command], pre[data-command]")) {
      code.textContent = code.textContent.replace("<SERVER>", new URL("../", document.baseURI).href.replace(/\/$/, ""));
      if (!navigator.clipboard) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = texts.copy;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = texts.copied;
        setTimeout(() => { button.textContent = texts.copy; }, 1500);
      });
      code.parentElement.append(button);
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const main = document.getElementById("main");
    const body = document.body;
    const enhance = () => { showTimes(main); addCopyButtons(main, body.dataset); };
    enhance();

    // What a person has opened, typed into, chosen or marked stays as it is.
    const isInUse = () => {
      const focused = document.activeElement;
      const types = focused && main.contains(focused) && focused.matches("input, textarea, select");
      const isChanged = (field) => field.matches("select")
        ? [...field.options].some((option) => option.selected !== option.defaultSelected && field.value !== "")
        : field.value !== field.defaultValue;
      const hasChanges = [...main.querySelectorAll("input, textarea, select")].some(isChanged);
      return types || hasChanges || main.querySelector("form.task-form, form.sign-in") || String(getSelection()).length > 0;
    };
    const path = (element) => {
      const steps = [];
      for (let at = element; at && at !== main; at = at.parentElement) steps.unshift([...at.parentElement.children].indexOf(at));
      return steps.join(".");
    };
    const find = (steps) => steps.split(".").reduce((at, step) => at && at.children[step], main);

    let waiting = null;
    const update = (html) => {
      if (isInUse()) { waiting = html; return; }
      waiting = null;
      const folded = new Map([...main.querySelectorAll("details")].map((details) => [path(details), details.open]));
      const chosen = main.querySelector("tr.chosen a.row");
      const focused = main.contains(document.activeElement) ? path(document.activeElement) : null;
      const fresh = new DOMParser().parseFromString(`<main>${html}</main>`, "text/html").querySelector("main");
      main.replaceChildren(...fresh.childNodes);
      for (const [steps, open] of folded) {
        const details = find(steps);
        if (details && details.tagName === "DETAILS") details.open = open;
      }
      enhance();
      if (chosen) for (const row of main.querySelectorAll("a.row")) if (row.href === chosen.href) row.closest("tr").classList.add("chosen");
      if (focused) find(focused)?.focus({ preventScroll: true });
    };
    const follow = () => {
      const events = new EventSource(new URL(body.dataset.live, document.baseURI));
      events.addEventListener("open", () => root.classList.add("is-live"));
      events.addEventListener("error", async () => {
        root.classList.remove("is-live");
        if (events.readyState !== EventSource.CLOSED) return;
        // It does not try again by itself: the session may have ended, which the page itself then says.
        const response = await fetch(location.href, { redirect: "manual" }).catch(() => null);
        if (response?.type === "opaqueredirect") location.reload(); else setTimeout(follow, 5000);
      });
      events.addEventListener("main", (event) => { root.classList.add("is-live"); update(event.data); });
      events.addEventListener("gone", () => { events.close(); location.reload(); });
      addEventListener("pagehide", () => events.close());
      addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
    };
    if (body.dataset.live) follow();
    setInterval(() => { if (waiting !== null) update(waiting); }, 1000);

    const switchTheme = () => {
      const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    };
    const keys = document.getElementById("keys");
    for (const [selector, action] of [["[data-theme-switch]", switchTheme], ["[data-keys]", () => keys.showModal()]]) {
      for (const button of document.querySelectorAll(selector)) { button.hidden = false; button.addEventListener("click", action); }
    }

    const choose = (step) => {
      const rows = [...main.querySelectorAll("table.rows tbody tr")].filter((row) => row.querySelector("a.row"));
      if (!rows.length) return;
      const at = rows.findIndex((row) => row.classList.contains("chosen"));
      const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step));
      rows[at]?.classList.remove("chosen");
      rows[next].classList.add("chosen");
      rows[next].querySelector("a.row").focus();
      rows[next].scrollIntoView({ block: "nearest" });
    };
    let first = "";
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target.matches("input, textarea, select")) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const sequence = first ? `${first} ${event.key}` : event.key;
      first = !first && event.key === "g" ? "g" : "";
      if (first || keys.open) return;
      if (event.key === "?") keys.showModal();
      else if (event.key === "j" || event.key === "k") choose(event.key === "j" ? 1 : -1);
      else if (sequence === "t") switchTheme();
      else {
        const target = document.querySelector(`[data-key="${CSS.escape(sequence)}"]`) ?? null;
        if (!target) return;
        if (target.matches("input")) target.focus(); else target.click();
      }
      event.preventDefault();
    });
  });
})();
