FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X perch/pds.Version=$VERSION" -o /perch ./cmd/perch \
 && mkdir -m 700 /data

# Certificates of the usual authorities, a user without rights (65532), and nothing else.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /perch /usr/local/bin/perch
COPY --from=build --chown=nonroot:nonroot /data /data
ENV PDS_DATA_DIRECTORY=/data
VOLUME /data
EXPOSE 2583
ENTRYPOINT ["/usr/local/bin/perch"]
CMD ["serve"]
