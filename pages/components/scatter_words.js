// What is said about points: of a single one, and below the map.
const NUMBER = new Intl.NumberFormat("en")
const short = (value) => Number(value.toPrecision(3)).toString()
// Names in scripts that run leftwards would move the numbers behind them.
const apart = (name) => (/[\u0590-\u08ff]/.test(name) ? "\u2068" + name + "\u2069" : name)

function words(map, i) {
  const { points, colours } = map, is_test = i >= points.n_train
  let text = (is_test ? "test" : "train") + " example " + (is_test ? i - points.n_train : i)
  if (points.class_names.length > 1) text += ", label " + points.class_names[points.labels[i]]
  if (colours.values) {
    const value = colours.values[i]
    text += Number.isNaN(value) ? "" : ", " + colours.by + " " + short(value)
  } else if (colours.by !== "class") text += ", " + colours.by + " " + colours.names[colours.codes[i]]
  return text + (map.picked[i] ? ", picked" : "")
}

function show_legend(map) {
  const { legend, points, colours, picked, n_picked } = map
  legend.replaceChildren()
  const entry = (...parts) => {
    const item = made("span")
    item.append(...parts)
    legend.append(item)
  }
  const mark = (kind, background) => {
    const drawn = made("span", { className: kind })
    drawn.style.background = background
    return drawn
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

function show_tip(map, i) {
  const { tip, canvas } = map
  tip.style.display = i < 0 ? "none" : "block"
  if (i < 0) return
  tip.textContent = words(map, i)
  const [x, y] = map.at(i)
  tip.style.left = Math.min(x + 12, Math.max(0, canvas.clientWidth - tip.offsetWidth - 4)) + "px"
  tip.style.top = (y > 50 ? y - tip.offsetHeight - 10 : y + 14) + "px"
}
