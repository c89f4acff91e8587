-- Argo CD's view of a ContainerCheckpoint. It goes into the ConfigMap argocd-cm as
-- resource.customizations.health.stillframe.dev_ContainerCheckpoint; docs/gitops.md says how.
--
--   Healthy      the image is complete
--   Progressing  somebody works on it or waits for something, within timeoutSeconds
--   Suspended    it waits for somebody to fetch its lazy pages
--   Degraded     it has failed and nobody tries again, or its image cannot be restored any more as it could before
local status = obj.status or {}

local function condition(kind)
  for _, found in ipairs(status.conditions or {}) do
    if found.type == kind then
      return found
    end
  end
  return {}
end

local function health(word, found, otherwise)
  return { status = word, message = found.message or otherwise }
end

local ready = condition("Ready")
local stalled = condition("Stalled")
local restorable = condition("Restorable")

-- An end is final, whatever becomes of ttlSecondsAfterFinished and deletionPolicy later: it is looked at before the generation.
if stalled.status == "True" then
  return health("Degraded", stalled, "the checkpoint has failed")
end
if ready.status == "True" then
  -- What an image never held, as it was asked for, is no harm to it.
  if restorable.status == "False" and restorable.reason ~= "PartsMissing" then
    return health("Degraded", restorable, "the image cannot be restored")
  end
  return health("Healthy", ready, "the image is complete")
end

if (status.observedGeneration or -1) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "the operator has not seen it yet" }
end
local lazy = condition("LazyPagesReady")
if lazy.status == "True" then
  return health("Suspended", lazy, "lazy pages can be fetched")
end
return health("Progressing", condition("Reconciling"), "the checkpoint is under way")
