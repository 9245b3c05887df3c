"""A sheet to draw on, with the mouse, a pen or a finger; it gives what is drawn as a PNG.

What comes back is what a browser sent, and is to be read like any upload.
"""

import base64
import binascii

import streamlit as st

from trak_core.errors import InvalidDataError

__all__ = ["drawing_sheet", "png_of"]

PREFIX = "data:image/png;base64,"
LONGEST = 500_000
"""Letters of an address; a drawing has some thousands."""

_HTML = """
<div class="sheet">
  <canvas width="280" height="280" tabindex="0"></canvas>
  <div class="row">
    <button type="button" class="clear">Clear</button>
    <button type="button" class="undo">Undo stroke</button>
  </div>
</div>
"""

# The sheet is white in both themes: the data are dark on white.
_CSS = """
.sheet { font-family: var(--st-font); width: 212px; }
canvas { width: 210px; height: 210px; display: block; background: white; touch-action: none; cursor: crosshair;
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); }
canvas:focus-visible, button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
.row { display: flex; gap: 6px; margin-top: 6px; }
button { font: inherit; font-size: 0.9rem; cursor: pointer; padding: 0.3rem 0.7rem; flex: 1;
  color: var(--st-text-color); background: transparent; border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius); }
button:hover { border-color: var(--st-primary-color); color: var(--st-primary-color); }
"""

# Strokes are kept as points: one can be taken back, and a redraw of the page loses nothing.
_JS = """
export default function (component) {
  const { data, parentElement, setStateValue } = component
  const sheet = parentElement.querySelector(".sheet")
  const canvas = sheet.querySelector("canvas")
  canvas.setAttribute("role", "img")
  canvas.setAttribute("aria-label", data.label)
  if (sheet.strokes) {
    sheet.report = (png) => setStateValue("png", png)
    return
  }
  sheet.strokes = []
  sheet.report = (png) => setStateValue("png", png)
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
      if (points.length === 1) pen.lineTo(points[0][0] + 0.1, points[0][1])  // a dot
      pen.stroke()
    }
  }
  const send = () => sheet.report(sheet.strokes.length || sheet.earlier ? canvas.toDataURL("image/png") : "")
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
    clearTimeout(waiting)  // a digit of several strokes is sent when its writer pauses
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
    paint()
    clearTimeout(waiting)
    send()
  }
  sheet.querySelector(".undo").onclick = () => {
    if (sheet.strokes.length) sheet.strokes.pop()
    else sheet.earlier = null
    paint()
    clearTimeout(waiting)
    send()
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
"""

_COMPONENT = st.components.v2.component("drawing_sheet", html=_HTML, css=_CSS, js=_JS)
STROKE_WIDTH = 26
"""Of 280: about the width of strokes in the digits data."""


def drawing_sheet(label: str, *, key: str) -> str:
    """The drawing as the address of a PNG, as the browser sent it; empty when nothing is drawn.

    Args:
        label: what to draw, for screen readers.
        key: of the component. The drawing is kept in the session, so that it is there again after another page.
    """
    kept = f"{key} kept"
    mounted = st.session_state.get(key)
    drawn = mounted.get("png") if mounted else None
    if drawn is not None:
        st.session_state[kept] = drawn
    result = _COMPONENT(
        key=key,
        data={"label": label, "width": STROKE_WIDTH, "png": st.session_state.get(kept, "")},
        on_png_change=lambda: None,
    )
    png = result.png
    return str(st.session_state.get(kept, "") if png is None else png)


def png_of(address: str) -> bytes:
    """The bytes behind the address of a drawing.

    Raises:
        InvalidDataError: it is no such address, or too long.
    """
    if not address.startswith(PREFIX) or len(address) > LONGEST:
        raise InvalidDataError("the drawing did not arrive whole; clear the sheet and draw again.")
    try:
        return base64.b64decode(address[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidDataError("the drawing did not arrive whole; clear the sheet and draw again.") from error
