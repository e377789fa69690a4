// Finds headings that have all words. Without scripts the menu is all there is.
const form = document.querySelector('form[role=search]'), box = form.querySelector('input'), list = form.querySelector('ul')
const most = 12
box.addEventListener('input', () => {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean)
  const found = []
  for (const p of words.length ? pages : []) for (const h of p.headings) {
    const text = (p.title + ' ' + h.text).toLowerCase()
    const own = words.filter(w => h.text.toLowerCase().includes(w)).length
    if (own && words.every(w => text.includes(w))) found.push({own, p, h})
  }
  found.sort((a, b) => b.own - a.own)
  list.replaceChildren(...found.slice(0, most).map(({p, h}) => {
    const a = document.createElement('a'), li = document.createElement('li')
    a.href = form.dataset.top + p.page + '#' + h.id
    a.textContent = h.text === p.title ? p.title : p.title + ': ' + h.text
    li.append(a)
    return li
  }))
  list.hidden = !found.length
})
form.addEventListener('submit', e => {
  e.preventDefault()
  const first = list.querySelector('a')
  if (first) location.href = first.href
})
