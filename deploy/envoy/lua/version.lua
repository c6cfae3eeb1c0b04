-- Writes the version of this attempt into the message on its way to a Triton.
--
-- x-penstock-chain names a version for each attempt, `model/version` where the model is another one. Appending a field
-- is enough: in protobuf the last value of a scalar wins. An attempt whose version is not the first's is remembered in
-- metadata, for the answer's headers and the record.

collectgarbage("setpause", 1000)  -- little lives on from call to call, but for large messages: see the end
local LARGE = 262144

local char, find, floor = string.char, string.find, math.floor
local chains = {}
local known = 0

local function field(tag, text)
  return char(tag, #text) .. text
end

local function compile(text)
  local chain = {}
  for entry in text:gmatch("[^,]+") do
    local slash = find(entry, "/", 1, true)
    local version = slash and entry:sub(slash + 1) or entry
    local model = slash and entry:sub(1, slash - 1)
    chain[#chain + 1] = { version = version, suffix = (model and field(10, model) or "") .. field(18, version) }
  end
  known = known + 1
  if known > 10000 then chains, known = {}, 1 end
  chains[text] = chain
  return chain
end

local function rewrite(handle, headers, text)
  local chain = chains[text] or compile(text)
  local number = tonumber(headers:get("x-envoy-attempt-count"))
  local attempt = chain[number]
  if number > 1 and attempt.suffix ~= chain[1].suffix then
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set("penstock", "version", attempt.version)
    metadata:set("penstock", "degraded", "fallback-model")
  end
  local body = handle:body()
  local size = body:length() - 5
  local length = size + #attempt.suffix
  body:setBytes(
    char(0, floor(length / 16777216), floor(length / 65536) % 256, floor(length / 256) % 256, length % 256)
      .. body:getBytes(5, size) .. attempt.suffix
  )
  return size
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local text = headers:get("x-penstock-chain")
  if not text then return end
  local rewritten, size = pcall(rewrite, handle, headers, text)
  if rewritten then
    if size > LARGE then collectgarbage() end
  else
    -- without its version the message would reach whatever Triton serves by default
    handle:logErr("version.lua: " .. tostring(size))
    handle:respond({ [":status"] = "200", ["content-type"] = "application/grpc", ["grpc-status"] = "13",
                     ["grpc-message"] = "the version could not be written into the message" })
  end
end
