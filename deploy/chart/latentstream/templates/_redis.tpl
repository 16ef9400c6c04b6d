{{/* The configuration of Redis, given redisServer. */}}
{{- define "latentstream.redisConfiguration" -}}
dir /data
# What it acknowledged is on the disk within a second.
appendonly yes
appendfsync everysec
save ""
# It says no instead of forgetting.
maxmemory {{ .maxmemory }}
maxmemory-policy noeviction
# Users and the network policy say who may connect. Else only this host might, but for images that are built so.
protected-mode no
aclfile /etc/redis-users/users.acl
{{- end }}
