"""What the map of points is made of in the browser: HTML, CSS and JavaScript of `scatter.py`."""

__all__ = ["CARRIER_JS", "CSS", "HTML", "JS"]

CARRIER_JS = """
// Keeps packed numbers for the map of the same name; a message of its own, so that it is sent when it changes only.
const unpack = (text, Kind) => {
  if (text === null || text === undefined) return null
  const letters = atob(text)
  const bytes = new Uint8Array(letters.length)
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i)
  return new Kind(bytes.buffer)
}
const kinds = { xy: Float32Array, labels: Uint16Array, codes: Uint16Array, values: Float32Array }
export default function (component) {
  const { data, parentElement } = component
  const host = parentElement.host ?? parentElement
  host.style.display = "none"
  const unpacked = { ...data }
  for (const [name, Kind] of Object.entries(kinds)) if (name in data) unpacked[name] = unpack(data[name], Kind)
  window.trakScatter = { ...window.trakScatter, [data.name]: unpacked }
  window.dispatchEvent(new CustomEvent("trak-scatter", { detail: data.for }))
}
"""

HTML = """
<div class="map">
  <div class="bar" role="toolbar" aria-label="Map">
    <button type="button" class="lasso" aria-pressed="false">Lasso</button>
    <button type="button" class="in" aria-label="Zoom in">+</button>
    <button type="button" class="out" aria-label="Zoom out">&minus;</button>
    <button type="button" class="all">Whole map</button>
    <button type="button" class="none">Clear</button>
    <span class="shapes"><i class="dot"></i> training <i class="triangle"></i> test</span>
  </div>
  <div class="stage">
    <canvas tabindex="0" role="application" aria-roledescription="map"></canvas><div class="tip"></div>
  </div>
  <div class="legend"></div>
  <p class="said" aria-live="polite"></p>
</div>
"""

CSS = """
.map { font-family: var(--st-font); color: var(--st-text-color); font-size: 0.85rem; }
.bar { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin-bottom: 6px; }
button { font: inherit; cursor: pointer; padding: 2px 10px; color: var(--st-text-color); background: transparent;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius); }
button:hover, button:focus-visible { border-color: var(--st-primary-color); }
button[aria-pressed="true"] { background: var(--st-primary-color); color: var(--st-background-color); }
button:disabled { opacity: 0.4; cursor: default; }
.shapes { margin-left: auto; white-space: nowrap; }
.dot { display: inline-block; width: 8px; height: 8px; border-radius: 50%; background: currentColor; }
.triangle { display: inline-block; margin-left: 8px; border: 5px solid transparent; border-top: 0;
  border-bottom: 9px solid currentColor; }
.stage { position: relative; }
canvas { display: block; width: 100%; cursor: grab; touch-action: pan-y; border: 1px solid var(--st-border-color);
  border-radius: var(--st-base-radius); background: var(--st-background-color); box-sizing: border-box; }
canvas.drawing { cursor: crosshair; touch-action: none; }
canvas:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
.tip { position: absolute; pointer-events: none; display: none; padding: 3px 8px; max-width: 260px;
  background: var(--st-secondary-background-color); border: 1px solid var(--st-border-color);
  border-radius: var(--st-base-radius); font-size: 0.8rem; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin-top: 6px; max-height: 84px; overflow-y: auto;
  font-variant-numeric: tabular-nums; }
.legend .swatch { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 5px; }
.legend .scale { display: inline-block; width: 160px; height: 10px; border-radius: 3px; margin: 0 6px; }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); margin: 0; }
"""

JS = """
const NUMBER = new Intl.NumberFormat("en")
const MANY = 8000
const short = (value) => Number(value.toPrecision(3)).toString()
// Names in scripts that run leftwards would move the numbers behind them.
const apart = (name) => (/[\\u0590-\\u08ff]/.test(name) ? "\\u2068" + name + "\\u2069" : name)

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".map")
  const map = (root.map ??= make_map(root))
  map.update(data, setTriggerValue)
}

function make_map(root) {
  const canvas = root.querySelector("canvas"), tip = root.querySelector(".tip"), pen = canvas.getContext("2d")
  const legend = root.querySelector(".legend"), said = root.querySelector(".said"), button = {}
  for (const name of ["lasso", "in", "out", "all", "none"]) button[name] = root.querySelector("." + name)
  let data = null, send = null, points = null, colours = null
  let view = null, fitted = null // screen x = x * scale + left, screen y = top - y * scale
  let picked = new Uint8Array(0), n_picked = 0, cursor = -1, hovered = -1, line = null, drag = null
  let sprites = new Map(), waiting = false

  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim()
  const count = () => (points ? points.xy.length / 2 : 0)
  const at = (i) => [points.xy[2 * i] * view.scale + view.left, view.top - points.xy[2 * i + 1] * view.scale]
  const back = ([x, y]) => [(x - view.left) / view.scale, (view.top - y) / view.scale]
  const here = (event) => {
    const box = canvas.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  function fit() {
    const n = count(), width = canvas.clientWidth, height = canvas.clientHeight
    if (!n || !width) return
    let low_x = Infinity, high_x = -Infinity, low_y = Infinity, high_y = -Infinity
    for (let i = 0; i < n; i++) {
      const x = points.xy[2 * i], y = points.xy[2 * i + 1]
      if (x < low_x) low_x = x
      if (x > high_x) high_x = x
      if (y < low_y) low_y = y
      if (y > high_y) high_y = y
    }
    const edge = 16
    const across = (width - 2 * edge) / (high_x - low_x || 1), down = (height - 2 * edge) / (high_y - low_y || 1)
    const scale = Math.min(across, down)
    fitted = scale
    view = { scale, left: width / 2 - ((low_x + high_x) / 2) * scale, top: height / 2 + ((low_y + high_y) / 2) * scale }
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    if (!view) return
    const scale = Math.min(Math.max(view.scale * factor, fitted * 0.5), fitted * 400)
    const real = scale / view.scale
    view = { scale, left: x - (x - view.left) * real, top: y - (y - view.top) * real }
    redraw()
  }

  function radius() {
    const n = count(), base = n > 20000 ? 1.7 : n > 5000 ? 2.3 : 3.4
    return base * Math.min(2.2, Math.max(1, (view.scale / fitted) ** 0.35))
  }

  function sprite(colour, is_test, r, ratio) {
    const name = colour + is_test
    if (sprites.has(name)) return sprites.get(name)
    const size = Math.ceil((2 * r + 4) * ratio), drawn = document.createElement("canvas"), ink = drawn.getContext("2d")
    drawn.width = drawn.height = size
    ink.scale(ratio, ratio)
    ink.translate(r + 2, r + 2)
    ink.fillStyle = colour
    ink.beginPath()
    if (is_test) {
      const k = r * 1.35
      ink.moveTo(0, -k)
      ink.lineTo(k * 0.95, k * 0.75)
      ink.lineTo(-k * 0.95, k * 0.75)
      ink.closePath()
      ink.fill()
      ink.lineWidth = 0.7
      ink.strokeStyle = css("--st-text-color")
      ink.stroke()
    } else {
      ink.arc(0, 0, r, 0, 7)
      ink.fill()
    }
    sprites.set(name, drawn)
    return drawn
  }

  function redraw() {
    if (waiting) return
    waiting = true
    requestAnimationFrame(() => {
      waiting = false
      draw()
    })
  }

  function draw() {
    if (!points || !colours || !view || colours.codes.length !== count()) return
    const began = performance.now(), ratio = window.devicePixelRatio || 1
    const width = canvas.clientWidth, height = canvas.clientHeight, n = count(), r = radius()
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio)
      canvas.height = Math.round(height * ratio)
    }
    if (sprites.r !== r || sprites.ratio !== ratio) sprites = Object.assign(new Map(), { r, ratio })
    pen.setTransform(1, 0, 0, 1, 0, 0)
    pen.clearRect(0, 0, canvas.width, canvas.height)
    const shift = (r + 2) * ratio, xy = points.xy, codes = colours.codes, kind = colours.palette
    const { scale, left, top } = view, right = canvas.width + shift, low = canvas.height + shift
    const pass = (wanted) => {
      for (let i = 0; i < n; i++) {
        if (picked[i] !== wanted) continue
        const x = (xy[2 * i] * scale + left) * ratio, y = (top - xy[2 * i + 1] * scale) * ratio
        if (x < -shift || y < -shift || x > right || y > low) continue
        pen.drawImage(sprite(kind[codes[i]], i >= points.n_train, r, ratio), x - shift, y - shift)
      }
    }
    if (n > MANY) draw_pixels(r * ratio, ratio)
    else {
      pen.globalAlpha = n_picked ? 0.35 : 0.9
      pass(0)
      pen.globalAlpha = 1
      if (n_picked) pass(1)
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen.strokeStyle = css("--st-text-color")
    const ring = (i, size, thick) => {
      const [x, y] = at(i)
      pen.lineWidth = thick
      pen.beginPath()
      pen.arc(x, y, size, 0, 7)
      pen.stroke()
    }
    if (n_picked && n_picked <= 3000) for (let i = 0; i < n; i++) if (picked[i]) ring(i, r + 0.8, 1)
    if (data.chosen !== null && data.chosen < n) {
      ring(data.chosen, r + 4, 2)
      ring(data.chosen, r + 8, 1)
    }
    pen.strokeStyle = css("--st-primary-color")
    if (cursor >= 0) ring(cursor, r + 5, 3)
    if (hovered >= 0) ring(hovered, r + 3, 2)
    if (line && line.length > 1) {
      pen.setLineDash([5, 4])
      pen.lineWidth = 1.5
      pen.beginPath()
      line.forEach((corner, i) => {
        const x = corner[0] * view.scale + view.left, y = view.top - corner[1] * view.scale
        i ? pen.lineTo(x, y) : pen.moveTo(x, y)
      })
      pen.closePath()
      pen.stroke()
      pen.setLineDash([])
      pen.globalAlpha = 0.08
      pen.fillStyle = css("--st-primary-color")
      pen.fill("evenodd")
      pen.globalAlpha = 1
    }
    canvas.dataset.view = JSON.stringify(view) // where points lie on the screen, for whoever drives the page
    canvas.dataset.milliseconds = (performance.now() - began).toFixed(1)
  }

  function draw_pixels(r, ratio) {
    // Tens of thousands of points, written pixel by pixel: many times faster than as many small pictures.
    const width = canvas.width, height = canvas.height, image = pen.createImageData(width, height)
    const pixels = new Uint32Array(image.data.buffer), reach = Math.ceil(1.4 * r), dot = [], triangle = []
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        if (x * x + y * y <= r * r) dot.push(x, y)
        if (y >= -1.35 * r && y <= r && Math.abs(x) <= (y + 1.35 * r) * 0.55) triangle.push(x, y)
      }
    }
    const inks = (alpha) => colours.palette.map((colour) => {
      const part = (at) => parseInt(colour.slice(at, at + 2), 16)
      const own = colour.length > 7 ? part(7) / 255 : 1
      return ((Math.round(255 * alpha * own) << 24) | (part(5) << 16) | (part(3) << 8) | part(1)) >>> 0
    })
    const { scale, left, top } = view, xy = points.xy, codes = colours.codes, n = count()
    for (const wanted of n_picked ? [0, 1] : [0]) {
      const ink = inks(wanted || !n_picked ? 0.9 : 0.3)
      for (let i = 0; i < n; i++) {
        if (picked[i] !== wanted) continue
        const cx = Math.round((xy[2 * i] * scale + left) * ratio)
        const cy = Math.round((top - xy[2 * i + 1] * scale) * ratio)
        if (cx < -reach || cy < -reach || cx > width + reach || cy > height + reach) continue
        const shape = i < points.n_train ? dot : triangle, colour = ink[codes[i]]
        for (let k = 0; k < shape.length; k += 2) {
          const x = cx + shape[k], y = cy + shape[k + 1]
          if (x >= 0 && y >= 0 && x < width && y < height) pixels[y * width + x] = colour
        }
      }
    }
    pen.putImageData(image, 0, 0)
  }

  function words(i) {
    const is_test = i >= points.n_train, label = points.class_names[points.labels[i]]
    let text = (is_test ? "test" : "train") + " example " + (is_test ? i - points.n_train : i)
    if (points.class_names.length > 1) text += ", label " + label
    if (colours.values) {
      const value = colours.values[i]
      text += Number.isNaN(value) ? "" : ", " + colours.by + " " + short(value)
    } else if (colours.by !== "class") text += ", " + colours.by + " " + colours.names[colours.codes[i]]
    return text + (picked[i] ? ", picked" : "")
  }

  function nearest(x, y, reach) {
    let best = -1, least = reach * reach
    for (let i = count() - 1; i >= 0; i--) {
      const dx = points.xy[2 * i] * view.scale + view.left - x, dy = view.top - points.xy[2 * i + 1] * view.scale - y
      const distance = dx * dx + dy * dy
      if (distance < least) {
        least = distance
        best = i
      }
    }
    return best
  }

  function step(dx, dy) {
    if (cursor < 0) return nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity)
    const [x, y] = at(cursor)
    let best = cursor, least = Infinity
    for (let i = 0; i < count(); i++) {
      const [px, py] = at(i), along = (px - x) * dx + (py - y) * dy
      const off = Math.abs((px - x) * dy) + Math.abs((py - y) * dx)
      if (along <= 0 || off > along) continue
      const distance = along * along + off * off
      if (distance < least) {
        least = distance
        best = i
      }
    }
    return best
  }

  function show_tip(i) {
    tip.style.display = i < 0 ? "none" : "block"
    if (i < 0) return
    tip.textContent = words(i)
    const [x, y] = at(i)
    tip.style.left = Math.min(x + 12, Math.max(0, canvas.clientWidth - tip.offsetWidth - 4)) + "px"
    tip.style.top = (y > 50 ? y - tip.offsetHeight - 10 : y + 14) + "px"
  }

  function move_cursor(i) {
    cursor = i
    const [x, y] = at(i), edge = 30
    view.left += Math.max(0, edge - x) - Math.max(0, x - canvas.clientWidth + edge)
    view.top += Math.max(0, edge - y) - Math.max(0, y - canvas.clientHeight + edge)
    said.textContent = words(i)
    show_tip(i)
    redraw()
  }

  function draw_legend() {
    legend.replaceChildren()
    const entry = (...parts) => {
      const item = document.createElement("span")
      item.append(...parts)
      legend.append(item)
    }
    const mark = (kind, background) => {
      const made = document.createElement("span")
      made.className = kind
      made.style.background = background
      return made
    }
    if (colours.values) {
      const steps = [0, 64, 127, 190, 254].map((k) => colours.palette[k])
      const scale = mark("scale", `linear-gradient(to right, ${steps.join(", ")})`)
      entry(colours.by + " " + colours.ends[0], scale, colours.ends[1])
      entry(`${NUMBER.format(n_picked)} of ${NUMBER.format(points.n_train)} training examples picked`)
      return
    }
    const all = new Uint32Array(colours.names.length), mine = new Uint32Array(colours.names.length)
    for (let i = 0; i < points.n_train; i++) {
      all[colours.codes[i]]++
      if (picked[i]) mine[colours.codes[i]]++
    }
    colours.names.forEach((name, k) => {
      const share = n_picked ? NUMBER.format(mine[k]) + " / " : ""
      if (all[k]) entry(mark("swatch", colours.palette[k]), `${apart(name)}: ${share}${NUMBER.format(all[k])}`)
    })
  }

  function lasso_mode(on) {
    button.lasso.setAttribute("aria-pressed", String(on))
    canvas.classList.toggle("drawing", on)
  }
  const is_lasso = () => button.lasso.getAttribute("aria-pressed") === "true"

  canvas.onpointerdown = (event) => {
    if (event.button !== 0 || !view) return
    canvas.setPointerCapture(event.pointerId)
    const [x, y] = here(event)
    drag = { x, y, moved: false, is_line: is_lasso() || event.shiftKey, add: event.altKey || event.ctrlKey, ...view }
    line = drag.is_line ? [back([x, y])] : null
    show_tip((hovered = -1))
  }
  canvas.onpointermove = (event) => {
    if (!view || !points) return
    const [x, y] = here(event)
    if (!drag) {
      const found = nearest(x, y, 12)
      if (found !== hovered) {
        hovered = found
        show_tip(found)
        redraw()
      }
      return
    }
    if (Math.hypot(x - drag.x, y - drag.y) > 4) drag.moved = true
    if (drag.is_line) {
      const last = line[line.length - 1]
      const far = Math.hypot(x - (last[0] * view.scale + view.left), y - (view.top - last[1] * view.scale))
      if (far >= 3) line.push(back([x, y]))
    } else if (drag.moved) {
      view = { scale: view.scale, left: drag.left + x - drag.x, top: drag.top + y - drag.y }
    }
    redraw()
  }
  canvas.onpointerup = (event) => {
    if (!drag) return
    const [x, y] = here(event), was = drag
    drag = null
    if (was.is_line && line.length > 2) {
      send("lasso", { polygon: line, add: was.add })
    } else {
      line = null
      if (!was.moved) {
        const found = nearest(x, y, 12)
        if (found >= 0) send("pick", found)
      }
    }
    redraw()
  }
  canvas.onpointercancel = () => {
    drag = line = null
    redraw()
  }
  canvas.onpointerleave = () => {
    hovered = -1
    if (!drag) show_tip(-1)
    redraw()
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault()
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...here(event))
    show_tip(-1)
  }, { passive: false })
  canvas.onkeydown = (event) => {
    if (!view || event.ctrlKey || event.metaKey) return
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
    if (way) move_cursor(step(...way))
    else if (event.key === "Enter" && cursor >= 0) send("pick", cursor)
    else if (event.key === "+" || event.key === "=") zoom(1.4, ...(cursor >= 0 ? at(cursor) : []))
    else if (event.key === "-") zoom(1 / 1.4, ...(cursor >= 0 ? at(cursor) : []))
    else if (event.key === "Escape") clear()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  canvas.onblur = () => show_tip(-1)

  function clear() {
    line = drag = null
    cursor = -1
    show_tip(-1)
    if (n_picked) send("clear", true)
    redraw()
  }
  button.lasso.onclick = () => lasso_mode(!is_lasso())
  button.in.onclick = () => zoom(1.4)
  button.out.onclick = () => zoom(1 / 1.4)
  button.all.onclick = () => (fit(), redraw())
  button.none.onclick = clear

  function refresh() {
    const held = window.trakScatter ?? {}
    const before = points
    points = held[data.name + " points"] ?? null
    colours = held[data.name + " colours"] ?? null
    if (!points || !colours) return
    const marks = new Uint8Array(count()), letters = atob(data.picked), bytes = new Uint8Array(letters.length)
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i)
    const ids = new Uint32Array(bytes.buffer)
    for (const id of ids) marks[id] = 1
    picked = marks
    n_picked = ids.length
    sprites = new Map()
    if (before !== points || !view) {
      if (!before || before.xy.length !== points.xy.length || before.xy.some((x, i) => x !== points.xy[i])) {
        cursor = hovered = -1
        line = null
        fit()
      }
    }
    if (!n_picked) line = null
    button.none.disabled = !n_picked && !line
    canvas.setAttribute("aria-label", data.label)
    draw_legend()
    redraw()
  }

  const arrived = (event) => {
    if (!root.isConnected) return window.removeEventListener("trak-scatter", arrived)
    if (data && event.detail === data.name) refresh()
  }
  window.addEventListener("trak-scatter", arrived)
  new ResizeObserver(() => {
    if (!canvas.clientWidth || !points) return
    if (!view || !canvas.width) fit()
    redraw()
  }).observe(canvas)
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    sprites = new Map()
    setTimeout(redraw, 300)
  })

  return {
    update(fresh, trigger) {
      data = fresh
      send = trigger
      canvas.style.height = data.height + "px"
      refresh()
    },
  }
}
"""
