// What a person does with a map: pointer, wheel, keys and buttons.
function listen(map) {
  const { canvas, button } = map
  let drag = null
  const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2]
  const near = (x, y, reach = 12) => nearest(map.points.xy, map.view, x, y, reach)
  const here = (event) => {
    const box = canvas.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  function zoom(factor, [x, y] = middle()) {
    if (!map.view) return
    map.view = zoomed_view(map.view, factor, x, y)
    map.redraw()
  }

  function hover(i) {
    if (i === map.hovered) return
    map.hovered = i
    show_tip(map, i)
    map.redraw()
  }

  function move_cursor(i) {
    const { view } = map, [x, y] = map.at(i), edge = 30
    map.cursor = i
    view.left += Math.max(0, edge - x) - Math.max(0, x - canvas.clientWidth + edge)
    view.top += Math.max(0, edge - y) - Math.max(0, y - canvas.clientHeight + edge)
    map.said.textContent = words(map, i)
    show_tip(map, i)
    map.redraw()
  }

  function clear() {
    map.line = drag = null
    map.cursor = -1
    show_tip(map, -1)
    if (map.n_picked) map.send("clear", true)
    map.redraw()
  }

  const is_lasso = () => button.lasso.getAttribute("aria-pressed") === "true"
  button.lasso.onclick = () => {
    button.lasso.setAttribute("aria-pressed", String(!is_lasso()))
    canvas.classList.toggle("drawing", is_lasso())
  }
  button.in.onclick = () => zoom(1.4)
  button.out.onclick = () => zoom(1 / 1.4)
  button.all.onclick = () => (map.fit(), map.redraw())
  button.none.onclick = clear

  canvas.onpointerdown = (event) => {
    if (event.button !== 0 || !map.view) return
    canvas.setPointerCapture(event.pointerId)
    const [x, y] = here(event), line = is_lasso() || event.shiftKey ? [from_screen(map.view, x, y)] : null
    drag = { x, y, line, moved: false, add: event.altKey || event.ctrlKey, view: map.view }
    map.line = line
    map.hovered = -1
    show_tip(map, -1)
  }
  canvas.onpointermove = (event) => {
    const { view, points } = map
    if (!view || !points) return
    const [x, y] = here(event)
    if (!drag) return hover(near(x, y))
    if (Math.hypot(x - drag.x, y - drag.y) > 4) drag.moved = true
    if (drag.line) {
      const [last_x, last_y] = to_screen(view, ...drag.line.at(-1))
      if (Math.hypot(x - last_x, y - last_y) >= 3) drag.line.push(from_screen(view, x, y))
      map.line = drag.line // a message that came meanwhile took it away
    } else if (drag.moved) {
      map.view = { ...view, left: drag.view.left + x - drag.x, top: drag.view.top + y - drag.y }
    }
    map.redraw()
  }
  canvas.onpointerup = (event) => {
    if (!drag) return
    const { line, moved, add } = drag
    drag = null
    if (line?.length > 2) map.send("lasso", { polygon: line, add })
    else {
      map.line = null
      const found = moved ? -1 : near(...here(event))
      if (found >= 0) map.send("pick", found)
    }
    map.redraw()
  }
  canvas.onpointercancel = () => {
    map.line = drag = null
    map.redraw()
  }
  canvas.onpointerleave = () => {
    map.hovered = -1
    if (!drag) show_tip(map, -1)
    map.redraw()
  }
  canvas.onblur = () => show_tip(map, -1)
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault()
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), here(event))
    show_tip(map, -1)
  }, { passive: false })
  canvas.onkeydown = (event) => {
    const { cursor, view, points } = map
    if (!view || event.ctrlKey || event.metaKey) return
    const focus = cursor >= 0 ? map.at(cursor) : middle()
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
    if (way) move_cursor(cursor < 0 ? near(...middle(), Infinity) : next_point(points.xy, view, cursor, ...way))
    else if (event.key === "Enter" && cursor >= 0) map.send("pick", cursor)
    else if (event.key === "+" || event.key === "=") zoom(1.4, focus)
    else if (event.key === "-") zoom(1 / 1.4, focus)
    else if (event.key === "Escape") clear()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
}
