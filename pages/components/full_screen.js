// Gives the page the whole screen, and takes it back.
export default function (component) {
  const button = component.parentElement.querySelector("button")
  const root = document.documentElement
  const name = () => { button.textContent = document.fullscreenElement ? "Leave full screen" : "Full screen" }
  button.onclick = async () => {
    if (document.fullscreenElement) await document.exitFullscreen()
    else await root.requestFullscreen()
    name()
  }
  document.addEventListener("fullscreenchange", name)
  name()
  return () => document.removeEventListener("fullscreenchange", name)
}
