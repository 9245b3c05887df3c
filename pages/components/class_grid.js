// The influence of classes on classes: a table of buttons, one of them open.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".scroll")
  const table = made("table")
  if (data.columns.length > 10 && data.columns.some((name) => name.length > 4)) table.className = "many"
  table.style.minWidth = 66 + 34 * data.columns.length + "px"
  const head = table.createTHead().insertRow(), body = table.createTBody()
  head.append(made("th", { className: "row", textContent: "train↓ test→" }))
  for (const name of data.columns) head.append(made("th", { scope: "col", textContent: name, title: name }))
  const buttons = []
  data.rows.forEach((name, r) => {
    const row = body.insertRow()
    row.append(made("th", { scope: "row", className: "row", textContent: name, title: name }))
    buttons.push(data.columns.map((column, c) => {
      const cell = data.cells[r][c], is_open = r === data.open[0] && c === data.open[1]
      const button = made("button", { type: "button", textContent: cell.text, tabIndex: is_open ? 0 : -1 })
      button.title = button.ariaLabel = `training class ${name}, test class ${column}: ${cell.text}`
      button.setAttribute("aria-pressed", String(is_open))
      button.style.background = cell.colour
      button.onclick = () => setTriggerValue("opened", [r, c])
      row.insertCell().append(button)
      return button
    }))
  })
  root.onkeydown = (event) => {
    const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key]
    if (!way) return
    const r = buttons.findIndex((row) => row.includes(event.target))
    const next = r < 0 ? null : buttons[r + way[0]]?.[buttons[r].indexOf(event.target) + way[1]]
    if (next) move_focus(event, next)
  }
  root.replaceChildren(table)
}
