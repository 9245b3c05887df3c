// Copies the address of the view.
export default function (component) {
  const button = component.parentElement.querySelector("button")
  const link = window.location.origin + window.location.pathname + "?" + component.data.query
  const say = (text) => { button.textContent = text }
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(link)
      say("Link copied")
    } catch {
      window.prompt("Copy this address", link)
    }
    setTimeout(() => say("Copy link"), 2000)
  }
}
