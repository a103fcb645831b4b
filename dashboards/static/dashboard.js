// Fetches each panel, draws its figure and writes its rows into the table beside it.
// Text from the server only ever becomes textContent; figures arrive complete, colours included.
"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let leaving = false;
  const panels = [...document.querySelectorAll("[data-panel]")];

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const drawTable = (panel, table) => {
    const head = element("tr");
    table.headings.forEach((heading, at) => {
      const cell = element("th", heading, table.numeric[at] ? "number" : "");
      cell.scope = "col";
      head.append(cell);
    });
    const body = element("tbody");
    for (const row of table.rows) {
      const line = element("tr");
      row.forEach((text, at) => line.append(element("td", text, table.numeric[at] ? "number" : "")));
      body.append(line);
    }
    const top = element("thead");
    top.append(head);
    const whole = element("table");
    whole.append(top, body);
    const scroll = panel.querySelector(".rows .scroll");
    scroll.replaceChildren(whole);
    if (table.left_out) scroll.append(element("p", `${table.left_out} more rows are in the CSV.`));
  };

  const say = (panel, text) => {
    const status = panel.querySelector(".status");
    status.textContent = text;
    status.hidden = !text;
  };

  // A narrow legend takes a line for each entry, and a narrow bar needs more room for its amount.
  const narrow = (data, layout) => {
    if (layout.showlegend) layout.height += 18 * data.length;
    if (!layout.yaxis.ticktext) return;
    layout.xaxis.nticks = 3;
    layout.xaxis.tickangle = 0;
    if (data[0].text) layout.xaxis.range[1] *= 1.4;
  };

  const show = async (panel, answer) => {
    const chart = panel.querySelector(".chart");
    const empty = answer.table.rows.length === 0;
    panel.querySelector(".answer").textContent = answer.answer;
    panel.querySelector(".as-of").textContent = `Data as of ${answer.as_of}`;
    panel.querySelector(".rows").hidden = empty;
    chart.hidden = empty;
    say(panel, empty ? answer.empty : "");
    drawTable(panel, answer.table);
    if (empty) return;
    const { data, layout } = answer.figure;
    if (chart.clientWidth < 520) narrow(data, layout);
    chart.style.height = `${layout.height}px`;
    await Plotly.react(chart, data, layout, answer.config);
    panel.dataset.ready = dark.matches ? "dark" : "light";
  };

  const load = async (panel) => {
    const source = `${panel.dataset.src}&scheme=${dark.matches ? "dark" : "light"}`;
    try {
      const response = await fetch(source, { credentials: "same-origin" });
      if (response.status === 401) {
        // Every panel is told so at once; one of them leaves.
        if (!leaving) window.location.assign("/dashboard/login");
        leaving = true;
        return;
      }
      if (!response.ok) throw new Error(`the gateway answered ${response.status}`);
      await show(panel, await response.json());
    } catch (error) {
      say(panel, `This panel could not be loaded: ${error.message}. `);
      const again = element("button", "Try again", "quiet");
      again.addEventListener("click", () => load(panel));
      panel.querySelector(".status").append(again);
    }
  };

  const loadAll = () => panels.forEach(load);
  dark.addEventListener("change", loadAll);
  loadAll();
})();
