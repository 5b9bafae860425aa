// SPDX-License-Identifier: BSD-3-Clause
// Without this the page shows every run; with it there is a field that narrows them down.
"use strict";
{
  const form = document.getElementById("filter");
  const field = document.getElementById("words");
  const shown = document.getElementById("shown");
  const rows = [...document.querySelectorAll("#runs tbody tr")];
  const apply = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count} of ${rows.length}`;
  };
  field.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
