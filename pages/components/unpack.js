// Numbers that arrive packed: the bytes of an array as base64.
function unpack(text, Kind) {
  const letters = atob(text), bytes = new Uint8Array(letters.length)
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i)
  return new Kind(bytes.buffer)
}
