// A sheet to draw on. Strokes are kept as points: one can be taken back, and a redraw of the page loses nothing.
export default function (component) {
  const { data, parentElement, setStateValue } = component
  const sheet = parentElement.querySelector(".sheet")
  const canvas = sheet.querySelector("canvas")
  canvas.setAttribute("role", "img")
  canvas.setAttribute("aria-label", data.label)
  sheet.report = (png) => setStateValue("png", png)
  if (sheet.strokes) return
  sheet.strokes = []
  const pen = canvas.getContext("2d")
  const paint = () => {
    pen.fillStyle = "white"
    pen.fillRect(0, 0, canvas.width, canvas.height)
    if (sheet.earlier) pen.drawImage(sheet.earlier, 0, 0)
    pen.lineWidth = data.width
    pen.lineCap = pen.lineJoin = "round"
    pen.strokeStyle = "black"
    for (const points of sheet.strokes) {
      pen.beginPath()
      pen.moveTo(points[0][0], points[0][1])
      for (const [x, y] of points) pen.lineTo(x, y)
      if (points.length === 1) pen.lineTo(points[0][0] + 0.1, points[0][1]) // a dot
      pen.stroke()
    }
  }
  const send = () => sheet.report(sheet.strokes.length || sheet.earlier ? canvas.toDataURL("image/png") : "")
  const change = () => {
    paint()
    clearTimeout(waiting)
    send()
  }
  const place = (event) => {
    const box = canvas.getBoundingClientRect()
    return [
      ((event.clientX - box.left) * canvas.width) / box.width,
      ((event.clientY - box.top) * canvas.height) / box.height,
    ]
  }
  let current = null
  let waiting = 0
  canvas.onpointerdown = (event) => {
    if (event.button) return
    clearTimeout(waiting) // a digit of several strokes is sent when its writer pauses
    canvas.setPointerCapture(event.pointerId)
    current = [place(event)]
    sheet.strokes.push(current)
    paint()
  }
  canvas.onpointermove = (event) => {
    if (!current) return
    const between = event.getCoalescedEvents ? event.getCoalescedEvents() : []
    for (const each of between.length ? between : [event]) current.push(place(each))
    paint()
  }
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (!current) return
    current = null
    clearTimeout(waiting)
    waiting = setTimeout(send, 500)
  }
  sheet.querySelector(".clear").onclick = () => {
    sheet.strokes = []
    sheet.earlier = null
    change()
  }
  sheet.querySelector(".undo").onclick = () => {
    if (sheet.strokes.length) sheet.strokes.pop()
    else sheet.earlier = null
    change()
  }
  paint()
  if (data.png) {
    const image = new Image()
    image.onload = () => {
      sheet.earlier = image
      paint()
    }
    image.src = data.png
  }
}
