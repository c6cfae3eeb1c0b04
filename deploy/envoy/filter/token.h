// A caller by its token, which Envoy's filter `jwt_authn` has verified and whose claims it has made headers of.

#pragma once

#include "access.h"

enum { LONGEST_NAME = 127, LONGEST_ROLES = 63 };

// Texts of claims; ptr NULL where the token has no such claim.
typedef struct {
  view issuer, tenant, principal, roles;
} claims;

// A caller with the room that its texts lie in.
typedef struct {
  caller who;
  char tenant[LONGEST_NAME], principal[LONGEST_NAME], roles[LONGEST_ROLES];
} bearer;

// TAKEN: `made` says who it is, until `known` is forgotten or `made` is gone. NOT_OURS: of no issuer that `known` has.
// UNNAMED: without a tenant or principal, or with one that no key could have. FOREIGN: a tenant that is none of its issuer's.
// Roles that there are none of give nothing; without any it is a caller who may nothing.
typedef enum { TAKEN, NOT_OURS, UNNAMED, FOREIGN } verdict;

verdict read_claims(const access *known, const claims *said, bearer *made);
