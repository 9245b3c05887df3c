// Where points lie on the screen. A view says it: x goes to x * scale + left, y to top - y * scale; `fitted` is the
// scale at which all points are seen. Coordinates of points are one array: x, y, x, y and so on.
const to_screen = (view, x, y) => [x * view.scale + view.left, view.top - y * view.scale]
const from_screen = (view, x, y) => [(x - view.left) / view.scale, (view.top - y) / view.scale]

function whole_view(xy, width, height) {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity], edge = 16
  for (let i = 0; i < xy.length; i++) {
    if (xy[i] < low[i % 2]) low[i % 2] = xy[i]
    if (xy[i] > high[i % 2]) high[i % 2] = xy[i]
  }
  const [across, down] = [width, height].map((size, k) => (size - 2 * edge) / (high[k] - low[k] || 1))
  const scale = Math.min(across, down)
  const left = width / 2 - ((low[0] + high[0]) / 2) * scale, top = height / 2 + ((low[1] + high[1]) / 2) * scale
  return { scale, left, top, fitted: scale }
}

function zoomed_view(view, factor, x, y) {
  const scale = Math.min(Math.max(view.scale * factor, view.fitted * 0.5), view.fitted * 400)
  const real = scale / view.scale
  return { ...view, scale, left: x - (x - view.left) * real, top: y - (y - view.top) * real }
}

// The point that the place (x, y) of the screen is nearest to, of those less than `reach` away; -1 without one.
function nearest(xy, view, x, y, reach) {
  return lowest(xy, view, reach * reach, (px, py) => (px - x) ** 2 + (py - y) ** 2)
}

// The point that comes next after `start` in the direction (dx, dy); `start` at the edge of the map.
function next_point(xy, view, start, dx, dy) {
  const [x, y] = to_screen(view, xy[2 * start], xy[2 * start + 1])
  const found = lowest(xy, view, Infinity, (px, py) => {
    const along = (px - x) * dx + (py - y) * dy, off = Math.abs((px - x) * dy) + Math.abs((py - y) * dx)
    return along <= 0 || off > along ? Infinity : along * along + off * off
  })
  return found < 0 ? start : found
}

// The last of the points whose cost is lowest, if it is below `least`; later points are drawn above earlier ones.
function lowest(xy, view, least, cost) {
  let best = -1
  for (let i = xy.length / 2 - 1; i >= 0; i--) {
    const paid = cost(xy[2 * i] * view.scale + view.left, view.top - xy[2 * i + 1] * view.scale)
    if (paid < least) {
      least = paid
      best = i
    }
  }
  return best
}
