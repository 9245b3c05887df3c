// What is drawn on the canvas of a map: points, the rings around some of them, and the line that a pointer draws.
const MANY = 8000 // points, from which on they are written pixel by pixel

function paint(map) {
  const { canvas, points, colours, view, n_picked } = map
  if (!points || !colours || !view || colours.codes.length !== map.count()) return
  const began = performance.now(), ratio = window.devicePixelRatio || 1
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio)
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
  const pen = canvas.getContext("2d"), r = radius(map)
  pen.setTransform(1, 0, 0, 1, 0, 0)
  pen.clearRect(0, 0, width, height)
  if (map.count() > MANY) paint_pixels(map, pen, r * ratio, ratio)
  else {
    pen.globalAlpha = n_picked ? 0.35 : 0.9
    paint_sprites(map, pen, 0, r, ratio)
    pen.globalAlpha = 1
    if (n_picked) paint_sprites(map, pen, 1, r, ratio)
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0)
  paint_rings(map, pen, r)
  if (map.line?.length > 1) paint_line(map, pen)
  canvas.dataset.view = JSON.stringify(view) // where points lie on the screen, for whoever drives the page
  canvas.dataset.milliseconds = (performance.now() - began).toFixed(1)
}

const css = (map, name) => getComputedStyle(map.canvas).getPropertyValue(name).trim()

function radius(map) {
  const n = map.count(), base = n > 20000 ? 1.7 : n > 5000 ? 2.3 : 3.4
  return base * Math.min(2.2, Math.max(1, (map.view.scale / map.view.fitted) ** 0.35))
}

function paint_sprites(map, pen, wanted, r, ratio) {
  const { points, colours, picked, canvas } = map, { scale, left, top } = map.view, xy = points.xy
  const shift = (r + 2) * ratio, right = canvas.width + shift, low = canvas.height + shift
  if (map.sprites.r !== r || map.sprites.ratio !== ratio) map.sprites = Object.assign(new Map(), { r, ratio })
  for (let i = 0; i < xy.length / 2; i++) {
    if (picked[i] !== wanted) continue
    const x = (xy[2 * i] * scale + left) * ratio, y = (top - xy[2 * i + 1] * scale) * ratio
    if (x < -shift || y < -shift || x > right || y > low) continue
    pen.drawImage(sprite(map, colours.palette[colours.codes[i]], i >= points.n_train), x - shift, y - shift)
  }
}

function sprite(map, colour, is_test) {
  const { r, ratio } = map.sprites, name = colour + is_test
  if (map.sprites.has(name)) return map.sprites.get(name)
  const size = Math.ceil((2 * r + 4) * ratio), drawn = made("canvas", { width: size, height: size })
  const ink = drawn.getContext("2d")
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
    ink.lineWidth = 0.7
    ink.strokeStyle = css(map, "--st-text-color")
  } else ink.arc(0, 0, r, 0, 7)
  ink.fill()
  if (is_test) ink.stroke()
  map.sprites.set(name, drawn)
  return drawn
}

// Tens of thousands of points, written pixel by pixel: many times faster than as many small pictures.
function paint_pixels(map, pen, r, ratio) {
  const { points, colours, picked, n_picked } = map, { scale, left, top } = map.view, xy = points.xy
  const { width, height } = map.canvas, image = pen.createImageData(width, height)
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
  for (const wanted of n_picked ? [0, 1] : [0]) {
    const ink = inks(wanted || !n_picked ? 0.9 : 0.3)
    for (let i = 0; i < xy.length / 2; i++) {
      if (picked[i] !== wanted) continue
      const cx = Math.round((xy[2 * i] * scale + left) * ratio)
      const cy = Math.round((top - xy[2 * i + 1] * scale) * ratio)
      if (cx < -reach || cy < -reach || cx > width + reach || cy > height + reach) continue
      const shape = i < points.n_train ? dot : triangle, colour = ink[colours.codes[i]]
      for (let k = 0; k < shape.length; k += 2) {
        const x = cx + shape[k], y = cy + shape[k + 1]
        if (x >= 0 && y >= 0 && x < width && y < height) pixels[y * width + x] = colour
      }
    }
  }
  pen.putImageData(image, 0, 0)
}

function paint_rings(map, pen, r) {
  const { data, picked, n_picked, cursor, hovered } = map
  const ring = (i, size, thick) => {
    pen.lineWidth = thick
    pen.beginPath()
    pen.arc(...map.at(i), size, 0, 7)
    pen.stroke()
  }
  pen.strokeStyle = css(map, "--st-text-color")
  if (n_picked && n_picked <= 3000) picked.forEach((is_picked, i) => is_picked && ring(i, r + 0.8, 1))
  if (data.chosen !== null && data.chosen < map.count()) {
    ring(data.chosen, r + 4, 2)
    ring(data.chosen, r + 8, 1)
  }
  pen.strokeStyle = css(map, "--st-primary-color")
  if (cursor >= 0) ring(cursor, r + 5, 3)
  if (hovered >= 0) ring(hovered, r + 3, 2)
}

function paint_line(map, pen) {
  pen.setLineDash([5, 4])
  pen.lineWidth = 1.5
  pen.beginPath()
  for (const corner of map.line) pen.lineTo(...to_screen(map.view, ...corner))
  pen.closePath()
  pen.stroke()
  pen.setLineDash([])
  pen.globalAlpha = 0.08
  pen.fillStyle = css(map, "--st-primary-color")
  pen.fill("evenodd")
  pen.globalAlpha = 1
}
