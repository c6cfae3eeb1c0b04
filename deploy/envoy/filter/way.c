#include "way.h"

#include <stdlib.h>
#include <string.h>

#define WORD(literal) ((view){literal, sizeof(literal) - 1})

static bool is(view text, view other) { return text.length == other.length && !memcmp(text.ptr, other.ptr, text.length); }

// The next line's word and what stands behind it. False where the line is none.
static bool take_line(view *said, view *word, view *rest) {
  char *end = memchr(said->ptr, '\n', said->length);
  size_t length = end == NULL ? said->length : (size_t)(end - said->ptr);
  char *blank = memchr(said->ptr, ' ', length);
  if (blank == NULL || blank + 1 == said->ptr + length) return false;
  *word = (view){said->ptr, (size_t)(blank - said->ptr)};
  *rest = (view){blank + 1, length - word->length - 1};
  size_t taken = end == NULL ? length : length + 1;
  *said = (view){said->ptr + taken, said->length - taken};
  return true;
}

static view *place_of(way *made, view word) {
  if (is(word, WORD("chain"))) return &made->chain;
  if (is(word, WORD("version"))) return &made->version;
  if (is(word, WORD("variant"))) return &made->variant;
  if (is(word, WORD("experiment"))) return &made->experiment;
  return is(word, WORD("degraded")) ? &made->degraded : NULL;
}

static bool read_way(way *made, view model, view said) {
  view word, rest;
  if (!take_line(&said, &word, &rest) || !is(word, WORD("room")) || !read_room(model, rest, &made->in)) return false;
  while (said.length > 0) {
    if (!take_line(&said, &word, &rest)) return false;
    view *into = place_of(made, word);
    if (into == NULL || into->ptr != NULL) return false;
    *into = rest;
  }
  return made->chain.ptr == NULL || target_of(made->chain, 1, &made->first);
}

way *way_of(view model, view said) {
  way *made = calloc(1, sizeof *made + said.length);
  if (made == NULL) return NULL;
  char *text = (char *)(made + 1);  // what its views are of
  if (said.length > 0) memcpy(text, said.ptr, said.length);
  if (said.length > 0 && read_way(made, model, (view){text, said.length})) return made;
  free(made);
  return NULL;
}
