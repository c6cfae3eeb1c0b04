// Who may call, and how often: what routing says of it, read once and then only looked at.
//
// A text of lines, fields apart by one space, none empty:
//   auth on|off
//   key <SHA-256 of the key, 64 hexadecimal digits> <tenant> <principal> <role,role…>
//   issuer <of tokens> list|words <tenant,tenant… that they may name, or *>
//   origin <of pages that may call, as browsers name it, or *>
//   limit <name> TENANT|UNIT <tenant, or *> <ns between two tokens> <burst> <enforced|shadow>
// `auth` stands first. With `off` a key is not looked at, and everyone is tenant and principal `local`, which limits may
// name too.

#pragma once

#include "abi.h"

typedef struct {
  view name;
  view tenant;  // `*`: each
  bool of_unit;
  bool shadow;  // what is above is counted, not refused
  uint64_t interval;
  uint64_t burst;
  uint64_t hash;
} limit;

// Limits that hold for a tenant: its own, then those for each.
typedef struct {
  const limit *own, *each;
  size_t owns, eachs;
} limits;

typedef struct {
  uint8_t hash[32];
  view tenant, principal, roles;
  bool infers;  // whether its roles allow inferences
  limits limited;
  uint64_t tenant_hash;
} caller;

// Whose tokens are taken.
typedef struct {
  view name;
  view tenants;      // that they may name, with commas between them; `*`: any
  bool lists_roles;  // whether the claim that names roles is a list, not a text
} issuer;

typedef struct access access;

// NULL where the text is none of that, or memory is short. What it makes lasts until `forget_access`.
access *read_access(view text);
void forget_access(access *known);

bool asks_for_keys(const access *known);
// Whose key this is; NULL where it is nobody's. Whatever its bytes are.
const caller *caller_with(const access *known, view key);
// Who everyone is where nobody is asked for a key.
const caller *local_caller(const access *known);

// Whose name this is; NULL where it is nobody's.
const issuer *issuer_named(const access *known, view name);
bool takes_tokens(const access *known);
bool may_speak_for(const issuer *of, view tenant);
// Of a caller with a tenant and roles, the rest: its limits, its share of buckets, whether it may infer.
void settle_caller(const access *known, caller *one);

// What a page of this origin is to be told: its origin, or `*`; NULL where it may not call. It lasts as `known` does.
view allowed_origin(const access *known, view origin);

// The bucket that a call counts against.
uint64_t bucket_of(const limit *of, const caller *who, view unit);
