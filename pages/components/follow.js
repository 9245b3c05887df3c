// A link that leads to another page without loading the app anew.
function follow(event, href) {
  // The way that the browser's Back button takes, so that the session goes on. `st.switch_page` is refused while the
  // address has parameters of widgets. With Ctrl and the like, the browser opens a tab or a window as everywhere.
  if (event.ctrlKey || event.metaKey || event.shiftKey) return
  event.preventDefault()
  history.pushState({}, "", href)
  window.dispatchEvent(new PopStateEvent("popstate"))
}
