#include "token.h"

#include <string.h>

static const char *const roles_known[] = {"admin", "approver", "billing", "caller", "engineer", "urgent"};
enum { ROLES = sizeof roles_known / sizeof *roles_known, LONGEST_ROLE = 15 };

// The texts of a list of JSON, byte by byte; of what lies deeper in it, nothing.
typedef struct {
  char word[LONGEST_ROLE];
  size_t size, depth;
  bool list, in_text, escaped, odd;
  unsigned found;  // a bit for each role
} reading;

static unsigned role_named(const char *word, size_t size) {
  for (unsigned n = 0; n < ROLES; n++) {
    if (strlen(roles_known[n]) == size && memcmp(roles_known[n], word, size) == 0) return 1u << n;
  }
  return 0;
}

static void read_text(reading *of, char byte) {
  if (of->escaped) {
    of->escaped = false;
  } else if (byte == '\\') {
    of->escaped = of->odd = true;
  } else if (byte == '"') {
    of->in_text = false;
    if (of->list && of->depth == 1 && !of->odd) of->found |= role_named(of->word, of->size);
  } else if (of->size == LONGEST_ROLE) {
    of->odd = true;
  } else {
    of->word[of->size++] = byte;
  }
}

static void read_byte(reading *of, char byte) {
  if (of->in_text) {
    read_text(of, byte);
  } else if (byte == '"') {
    of->in_text = true, of->odd = false, of->size = 0;
  } else if (byte == '[' || byte == '{') {
    if (of->depth++ == 0) of->list = byte == '[';
  } else if ((byte == ']' || byte == '}') && of->depth > 0) {
    of->depth--;
  }
}

static int digit_of(char letter) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *found = letter == 0 ? NULL : strchr(letters, letter);
  return found == NULL ? -1 : (int)(found - letters);
}

// Of a claim that is a list: Envoy writes its JSON in base64.
static unsigned roles_of_list(view text) {
  reading of = {.depth = 0};
  uint32_t bits = 0;
  int have = 0;
  for (size_t n = 0; n < text.length && text.ptr[n] != '='; n++) {
    int digit = digit_of(text.ptr[n]);
    if (digit < 0) return 0;
    bits = (bits << 6 | (uint32_t)digit) & 0xFFFF, have += 6;
    if (have < 8) continue;
    have -= 8;
    read_byte(&of, (char)(bits >> have & 0xFF));
  }
  return of.depth == 0 && !of.in_text ? of.found : 0;
}

// Of a claim that is a text: spaces or commas stand between them.
static unsigned roles_of_words(view text) {
  unsigned found = 0;
  for (size_t n = 0, begin = 0; n <= text.length; n++) {
    if (n < text.length && text.ptr[n] != ' ' && text.ptr[n] != ',') continue;
    found |= role_named(text.ptr + begin, n - begin);
    begin = n + 1;
  }
  return found;
}

static view write_roles(unsigned found, char room[LONGEST_ROLES]) {
  size_t size = 0;
  for (unsigned n = 0; n < ROLES; n++) {
    if (!(found >> n & 1)) continue;
    if (size > 0) room[size++] = ',';
    memcpy(room + size, roles_known[n], strlen(roles_known[n]));
    size += strlen(roles_known[n]);
  }
  if (size == 0) memcpy(room, "none", size = 4);
  return (view){room, size};
}

static bool is_word(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9');
}

// As tenants of keys are: they stand in records, metrics and the names of limits.
static bool is_tenant(view text) {
  if (text.length == 0 || text.length > LONGEST_NAME || !is_word(text.ptr[0])) return false;
  for (size_t n = 0; n < text.length; n++) {
    if (!is_word(text.ptr[n]) && memchr("_.-", text.ptr[n], 3) == NULL) return false;
  }
  return true;
}

// More than a key's may be, `auth0|5f7c` for one: whatever can be seen. A claim may have line breaks, and Envoy lets them in.
static bool is_principal(view text) {
  if (text.length == 0 || text.length > LONGEST_NAME) return false;
  for (size_t n = 0; n < text.length; n++) {
    if (text.ptr[n] <= ' ' || text.ptr[n] > '~') return false;
  }
  return true;
}

verdict read_claims(const access *known, const claims *said, bearer *made) {
  const issuer *from = said->issuer.ptr == NULL ? NULL : issuer_named(known, said->issuer);
  if (from == NULL) return NOT_OURS;
  if (said->tenant.ptr == NULL || said->principal.ptr == NULL) return UNNAMED;
  if (!is_tenant(said->tenant) || !is_principal(said->principal)) return UNNAMED;
  if (!may_speak_for(from, said->tenant)) return FOREIGN;
  view roles = said->roles.ptr == NULL ? (view){made->roles, 0} : said->roles;
  memcpy(made->tenant, said->tenant.ptr, said->tenant.length);
  memcpy(made->principal, said->principal.ptr, said->principal.length);
  made->who = (caller){
      .tenant = {made->tenant, said->tenant.length},
      .principal = {made->principal, said->principal.length},
      .roles = write_roles(from->lists_roles ? roles_of_list(roles) : roles_of_words(roles), made->roles),
  };
  settle_caller(known, &made->who);
  return TAKEN;
}
