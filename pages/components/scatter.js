// A map of many points. It is kept between messages; points and colours arrive by messages of their own.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".map")
  const map = (root.map ??= make_map(root))
  Object.assign(map, { data, send: setTriggerValue })
  refresh(map)
}

function make_map(root) {
  const [canvas, tip, legend, said] = ["canvas", ".tip", ".legend", ".said"].map((name) => root.querySelector(name))
  const button = {}
  for (const name of ["lasso", "in", "out", "all", "none"]) button[name] = root.querySelector("." + name)
  let is_waiting = false
  const map = {
    canvas, tip, legend, said, button,
    data: null, send: null, points: null, colours: null, view: null,
    picked: new Uint8Array(0), n_picked: 0, cursor: -1, hovered: -1, line: null, sprites: new Map(),
    count: () => (map.points ? map.points.xy.length / 2 : 0),
    at: (i) => to_screen(map.view, map.points.xy[2 * i], map.points.xy[2 * i + 1]),
    fit() {
      if (map.count() && canvas.clientWidth) {
        map.view = whole_view(map.points.xy, canvas.clientWidth, canvas.clientHeight)
      }
    },
    redraw() {
      if (is_waiting) return
      is_waiting = true
      requestAnimationFrame(() => {
        is_waiting = false
        paint(map)
      })
    },
  }
  listen(map)
  const arrived = (event) => {
    if (!root.isConnected) return window.removeEventListener("trak-scatter", arrived)
    if (map.data && event.detail === map.data.name) refresh(map)
  }
  window.addEventListener("trak-scatter", arrived)
  new ResizeObserver(() => {
    if (!canvas.clientWidth || !map.points) return
    if (!map.view || !canvas.width) map.fit()
    map.redraw()
  }).observe(canvas)
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    map.sprites = new Map()
    setTimeout(map.redraw, 300)
  })
  return map
}

function refresh(map) {
  const { data } = map, held = window.trakScatter ?? {}, before = map.points?.xy
  map.points = held[data.name + " points"] ?? null
  map.colours = held[data.name + " colours"] ?? null
  if (!map.points || !map.colours) return
  const picked = unpack(data.picked, Uint32Array), { xy } = map.points
  map.picked = new Uint8Array(map.count())
  for (const i of picked) map.picked[i] = 1
  map.n_picked = picked.length
  map.sprites = new Map()
  const moved = before !== xy && (before?.length !== xy.length || before.some((x, i) => x !== xy[i]))
  if (moved) Object.assign(map, { cursor: -1, hovered: -1, line: null })
  if (moved || !map.view) map.fit()
  if (!map.n_picked) map.line = null
  map.button.none.disabled = !map.n_picked
  map.canvas.setAttribute("aria-label", data.label)
  show_legend(map)
  map.redraw()
}
