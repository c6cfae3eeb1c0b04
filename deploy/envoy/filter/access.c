#include "access.h"

#include <stdlib.h>
#include <string.h>

#include "sha256.h"

enum { MOST_NUMBER_DIGITS = 18 };
static const uint64_t LONGEST_NS = UINT64_C(1) << 62;

struct access {
  bool asks;
  char *text;
  limit *limits;  // by tenant
  size_t limit_count;
  caller *callers;
  size_t caller_count;
  uint32_t *slots;  // 1 + index of a caller; 0 where none is
  size_t slot_count;
  view *origins;
  size_t origin_count;
  issuer *issuers;
  size_t issuer_count;
  caller local;
};

static bool equal(view a, view b) { return a.length == b.length && memcmp(a.ptr, b.ptr, a.length) == 0; }

#define WORD(literal) ((view){(char *)(literal), sizeof(literal) - 1})

// The text up to the next `end`, which is taken away with it. `rest` becomes empty with the last.
static view cut(view *rest, char end) {
  char *found = rest->length > 0 ? memchr(rest->ptr, end, rest->length) : NULL;
  size_t size = found == NULL ? rest->length : (size_t)(found - rest->ptr);
  view first = {rest->ptr, size};
  size_t gone = found == NULL ? size : size + 1;
  *rest = (view){rest->ptr + gone, rest->length - gone};
  return first;
}

static bool read_number(view text, uint64_t *number) {
  *number = 0;
  if (text.length == 0 || text.length > MOST_NUMBER_DIGITS) return false;
  for (size_t n = 0; n < text.length; n++) {
    if (text.ptr[n] < '0' || text.ptr[n] > '9') return false;
    *number = *number * 10 + (uint64_t)(text.ptr[n] - '0');
  }
  return *number > 0;
}

static int digit_of(char letter) {
  if (letter >= '0' && letter <= '9') return letter - '0';
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

static bool read_hash(view text, uint8_t hash[HASH_SIZE]) {
  if (text.length != 2 * HASH_SIZE) return false;
  for (size_t n = 0; n < HASH_SIZE; n++) {
    int high = digit_of(text.ptr[2 * n]), low = digit_of(text.ptr[2 * n + 1]);
    if (high < 0 || low < 0) return false;
    hash[n] = (uint8_t)(high << 4 | low);
  }
  return true;
}

static bool may_infer(view roles) {
  while (roles.length > 0) {
    view role = cut(&roles, ',');
    if (equal(role, WORD("caller")) || equal(role, WORD("engineer")) || equal(role, WORD("admin"))) return true;
  }
  return false;
}

static bool read_caller(view line, caller *made) {
  bool known = read_hash(cut(&line, ' '), made->hash);
  made->tenant = cut(&line, ' ');
  made->principal = cut(&line, ' ');
  made->roles = line;
  return known && made->tenant.length > 0 && made->principal.length > 0 && made->roles.length > 0;
}

static bool read_issuer(view line, issuer *made) {
  made->name = cut(&line, ' ');
  view form = cut(&line, ' ');
  made->lists_roles = equal(form, WORD("list"));
  made->tenants = line;
  return made->name.length > 0 && line.length > 0 && (made->lists_roles || equal(form, WORD("words")));
}

static bool read_limit(view line, limit *made) {
  made->name = cut(&line, ' ');
  view scope = cut(&line, ' ');
  made->tenant = cut(&line, ' ');
  view interval = cut(&line, ' '), burst = cut(&line, ' ');
  bool numbers = read_number(interval, &made->interval) && read_number(burst, &made->burst);
  made->of_unit = equal(scope, WORD("UNIT"));
  made->shadow = equal(line, WORD("shadow"));
  if (!numbers || made->burst > LONGEST_NS / made->interval) return false;
  if (!made->of_unit && !equal(scope, WORD("TENANT"))) return false;
  if (!made->shadow && !equal(line, WORD("enforced"))) return false;
  made->hash = short_hash(made->name.ptr, made->name.length);
  return made->name.length > 0 && made->tenant.length > 0;
}

static int compare(view a, view b) {
  int order = memcmp(a.ptr, b.ptr, a.length < b.length ? a.length : b.length);
  return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static int by_tenant(const void *a, const void *b) {
  return compare(((const limit *)a)->tenant, ((const limit *)b)->tenant);
}

// Of limits in order of their tenants, those of this one.
static size_t limits_of(const access *known, view tenant, const limit **first) {
  size_t low = 0, high = known->limit_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (compare(known->limits[middle].tenant, tenant) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  *first = known->limits + low;
  while (high < known->limit_count && equal(known->limits[high].tenant, tenant)) high++;
  return high - low;
}

void settle_caller(const access *known, caller *one) {
  one->infers = may_infer(one->roles);
  one->tenant_hash = short_hash(one->tenant.ptr, one->tenant.length);
  one->limited.owns = limits_of(known, one->tenant, &one->limited.own);
  one->limited.eachs = limits_of(known, WORD("*"), &one->limited.each);
}

static size_t slot_of(const access *known, const uint8_t hash[HASH_SIZE]) {
  uint64_t number;
  memcpy(&number, hash, sizeof number);
  return number & (known->slot_count - 1);
}

static void index_callers(access *known) {
  for (uint32_t n = 0; n < known->caller_count; n++) {
    size_t slot = slot_of(known, known->callers[n].hash);
    while (known->slots[slot] != 0) slot = (slot + 1) & (known->slot_count - 1);
    known->slots[slot] = n + 1;
    settle_caller(known, &known->callers[n]);
  }
}

// One line after the other; the arrays have room for as many as there are lines.
static bool read_lines(access *known, view text) {
  view first = cut(&text, '\n');
  known->asks = equal(first, WORD("auth on"));
  if (!known->asks && !equal(first, WORD("auth off"))) return false;
  while (text.length > 0) {
    view line = cut(&text, '\n');
    view kind = cut(&line, ' ');
    if (equal(kind, WORD("key"))) {
      if (!read_caller(line, &known->callers[known->caller_count++])) return false;
    } else if (equal(kind, WORD("origin"))) {
      if (line.length == 0) return false;
      known->origins[known->origin_count++] = line;
    } else if (equal(kind, WORD("issuer"))) {
      if (!read_issuer(line, &known->issuers[known->issuer_count++])) return false;
    } else if (!equal(kind, WORD("limit")) || !read_limit(line, &known->limits[known->limit_count++])) {
      return false;
    }
  }
  return true;
}

static bool make_room(access *known, view text) {
  size_t lines = 1;
  for (size_t n = 0; n < text.length; n++) lines += text.ptr[n] == '\n';
  known->slot_count = 2;
  while (known->slot_count < 2 * lines) known->slot_count *= 2;
  known->text = malloc(text.length + 1);
  known->limits = calloc(lines, sizeof *known->limits);
  known->callers = calloc(lines, sizeof *known->callers);
  known->slots = calloc(known->slot_count, sizeof *known->slots);
  known->origins = calloc(lines, sizeof *known->origins);
  known->issuers = calloc(lines, sizeof *known->issuers);
  return known->text != NULL && known->limits != NULL && known->callers != NULL && known->slots != NULL &&
         known->origins != NULL && known->issuers != NULL;
}

access *read_access(view text) {
  access *known = calloc(1, sizeof *known);
  if (known == NULL || text.length == 0) {
    free(known);
    return NULL;
  }
  if (make_room(known, text)) {
    memcpy(known->text, text.ptr, text.length);
    if (read_lines(known, (view){known->text, text.length})) {
      qsort(known->limits, known->limit_count, sizeof *known->limits, by_tenant);
      index_callers(known);
      known->local = (caller){.tenant = WORD("local"), .principal = WORD("local")};
      settle_caller(known, &known->local);
      known->local.infers = true;
      return known;
    }
  }
  forget_access(known);
  return NULL;
}

void forget_access(access *known) {
  if (known == NULL) return;
  free(known->text);
  free(known->limits);
  free(known->callers);
  free(known->slots);
  free(known->origins);
  free(known->issuers);
  free(known);
}

bool asks_for_keys(const access *known) { return known->asks; }

const caller *caller_with(const access *known, view key) {
  uint8_t hash[HASH_SIZE];
  sha256(key.ptr, key.length, hash);
  for (size_t slot = slot_of(known, hash); known->slots[slot] != 0; slot = (slot + 1) & (known->slot_count - 1)) {
    const caller *one = &known->callers[known->slots[slot] - 1];
    if (memcmp(one->hash, hash, HASH_SIZE) == 0) return one;
  }
  return NULL;
}

view allowed_origin(const access *known, view origin) {
  for (size_t n = 0; n < known->origin_count && origin.ptr != NULL; n++) {
    if (equal(known->origins[n], origin) || equal(known->origins[n], WORD("*"))) return known->origins[n];
  }
  return (view){NULL, 0};
}

bool takes_tokens(const access *known) { return known->asks && known->issuer_count > 0; }

const issuer *issuer_named(const access *known, view name) {
  for (size_t n = 0; n < known->issuer_count; n++) {
    if (equal(known->issuers[n].name, name)) return &known->issuers[n];
  }
  return NULL;
}

bool may_speak_for(const issuer *of, view tenant) {
  if (equal(of->tenants, WORD("*"))) return true;
  for (view rest = of->tenants; rest.length > 0;) {
    if (equal(cut(&rest, ','), tenant)) return true;
  }
  return false;
}

const caller *local_caller(const access *known) { return &known->local; }

static uint64_t mixed(uint64_t one, uint64_t other) {
  uint64_t both = (one ^ (other << 32 | other >> 32)) * 0x9E3779B97F4A7C15u;
  return both ^ both >> 29;
}

uint64_t bucket_of(const limit *of, const caller *who, view unit) {
  uint64_t tenant = mixed(of->hash, who->tenant_hash);
  // even and odd: however callers choose their units, those buckets never lie in a group with those of tenants
  return of->of_unit ? mixed(tenant, short_hash(unit.ptr, unit.length)) | 1 : tenant & ~UINT64_C(1);
}
