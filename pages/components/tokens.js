// A text by its tokens, each a button: a click asks about one, a drag or Shift with the arrow keys about several.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".tokens")
  root.setAttribute("role", "group")
  root.setAttribute("aria-label", data.label)
  const buttons = []
  root.replaceChildren()
  for (const { name, pieces } of data.texts) {
    if (name) root.append(made("div", { className: "name", textContent: name }))
    const text = made("p", { className: "text" })
    for (const piece of pieces) {
      if (!piece.places) {
        text.append(made("span", { className: "rest", textContent: piece.text }))
        continue
      }
      // No <button>: between those a line may break, and tokens are parts of words.
      const button = made("span", { role: "button", textContent: piece.text, tabIndex: -1, title: piece.title })
      button.setAttribute("aria-label", piece.title)
      button.style.background = piece.colour
      button.places = piece.places
      buttons.push(button)
      text.append(button)
    }
    root.append(text)
  }
  const whole = made("button", { type: "button", className: "whole", textContent: "The whole text" })
  whole.disabled = !data.asked
  whole.onclick = () => setTriggerValue("asked", "all")
  root.append(whole)

  const is_asked = (button) => !data.asked || (button.places[1] >= data.asked[0] && button.places[0] <= data.asked[1])
  let from = Math.max(0, buttons.findIndex((button) => data.asked && is_asked(button))), to = from
  const mark = (chosen) => buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(chosen(button, i))))
  const within = (button, i) => i >= Math.min(from, to) && i <= Math.max(from, to)
  const ask = () => {
    const first = buttons[Math.min(from, to)], last = buttons[Math.max(from, to)]
    setTriggerValue("asked", first.places[0] + "-" + last.places[1])
  }
  mark((button) => Boolean(data.asked) && is_asked(button))
  if (buttons[from]) buttons[from].tabIndex = 0

  let is_dragging = false
  root.onpointerdown = (event) => {
    const place = buttons.indexOf(event.target)
    if (place < 0 || event.button) return
    is_dragging = true
    if (!event.shiftKey) from = place
    to = place
    mark(within)
    event.target.releasePointerCapture?.(event.pointerId) // a finger would hold on to where it began
  }
  root.onpointermove = (event) => {
    if (!is_dragging) return
    const place = buttons.indexOf(root.getRootNode().elementFromPoint(event.clientX, event.clientY))
    if (place < 0 || place === to) return
    to = place
    mark(within)
  }
  root.onpointerup = () => {
    if (is_dragging) ask()
    is_dragging = false
  }
  root.onpointercancel = root.onpointerleave = () => {
    if (!is_dragging) return
    is_dragging = false
    mark((button) => Boolean(data.asked) && is_asked(button))
  }
  root.onkeydown = (event) => {
    const place = buttons.indexOf(event.target)
    if (event.key === "Escape" && data.asked) setTriggerValue("asked", "all")
    if (place < 0) return
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault()
      event.stopPropagation()
      if (!within(event.target, place)) from = to = place
      ask()
    } else if (step && buttons[place + step]) {
      if (!event.shiftKey) from = place + step
      to = place + step
      mark(within)
      move_focus(event, buttons[to])
    }
  }
}
